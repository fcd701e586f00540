from .checkpoints import DivergedError as DivergedError
from .data_files import read_rows as read_rows
from .run import Result as Result
from .settings import Settings as Settings
from .splitting import split_rows as split_rows
from .start import finetune as finetune
