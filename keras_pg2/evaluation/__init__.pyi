from .results import Evaluation as Evaluation
from .results import Failure as Failure
from .results import Outcome as Outcome
from .results import Published as Published
