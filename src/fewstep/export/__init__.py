"""Few-step students as files that other tools load, each proven by a process that knows nothing of fewstep.

Needs ``pip install fewstep[diffusers]``.
"""

from fewstep.export.adapter import Adapter
from fewstep.export.forms import FORMS, Outlook, outlook
from fewstep.export.proof import Request
from fewstep.export.student import Student
from fewstep.export.verify import Verified, verify
from fewstep.export.write import Wanted, export

__all__ = ["FORMS", "Adapter", "Outlook", "Request", "Student", "Verified", "Wanted", "export", "outlook", "verify"]
