from .convert import convert as convert
from .formats import open_checkpoint as open_checkpoint
from .from_model import write_model as write_model
from .upload import upload as upload
