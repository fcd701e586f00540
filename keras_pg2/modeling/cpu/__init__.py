"""What only a CPU needs: other forms of the same computation, quicker or smaller there.

`is_used` decides everywhere; inside `plain_forms` the plain form is taken on a CPU too,
as it is on accelerators.
"""

from keras_pg2.modeling.cpu.choice import has_accelerator as has_accelerator
from keras_pg2.modeling.cpu.choice import is_used as is_used
from keras_pg2.modeling.cpu.choice import plain_forms as plain_forms
