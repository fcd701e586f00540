# Two commands set themselves up on a machine with Python 3.11+ and make:
#   make demo   the main job on a picture file, with JAX and the bundled preset
#   make test   the tests on JAX, TensorFlow and PyTorch, and without TensorFlow

PYTHON ?= python3
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES = pyproject.toml constraints.txt requirements-light.txt
# XLA and PyTorch oversubscribe the cores when two test runs share them.
TEST_ENV = OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 PYTHONHASHSEED=0
# Most of the time of tests on JAX and TensorFlow goes to the compiler, and small
# networks need none of its best code.
CHEAP_CODE = --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true
# What no backend can change runs on PyTorch alone (see tests/conftest.py).
BACKEND_TESTS = -m "not one_backend"
# What would import TensorFlow if it were there: loading, preprocessing, answering.
LIGHT_TESTS = tests/light tests/generation/test_decoding.py tests/tasks/test_causal_lm.py \
	tests/tasks/loading/test_loading.py

BACKENDS = jax tensorflow torch
# In two processes, as a long one collects what XLA and PyTorch compile. The longest
# begin, and the two of TensorFlow, which take most memory, not side by side.
SUITES = test-tensorflow-tasks test-torch-others test-jax-others test-tensorflow-others \
	test-jax-tasks test-torch-tasks
LIGHT_SUITES = test-light-jax test-light-torch

# $(call run_tests,backend,environment,tests). XLA's compiler has ended a process with
# a segmentation fault: what a signal ends is run once more, what fails is not.
define run_tests
run() { $(TEST_ENV) XLA_FLAGS="$(CHEAP_CODE)" KERAS_BACKEND=$(1) $(2)/bin/python -m pytest --quiet $(3); }; \
run || { code=$$?; [ $$code -gt 128 ] || exit $$code; \
	echo "pytest was ended by signal $$((code - 128)); once more:"; run; }
endef

.PHONY: demo test test-all $(BACKENDS:%=test-%) $(SUITES) $(LIGHT_SUITES) lint format clean

demo: .venv-demo/ready
	KERAS_BACKEND=jax .venv-demo/bin/keras-pg2 demo --output demo-output

test: .venv/ready .venv-light/ready
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target \
		BACKEND_TESTS='$(BACKEND_TESTS)' $(SUITES) $(LIGHT_SUITES)

# Every test on every backend.
test-all: BACKEND_TESTS =
test-all: test

$(BACKENDS:%=test-%): test-%: test-%-tasks test-%-others

$(BACKENDS:%=test-%-tasks): test-%-tasks: .venv/ready
	@$(call run_tests,$*,.venv,tests/tasks $(if $(filter torch,$*),,$(BACKEND_TESTS)))

$(BACKENDS:%=test-%-others): test-%-others: .venv/ready
	@$(call run_tests,$*,.venv,tests --ignore=tests/tasks \
		$(if $(filter torch,$*),,$(BACKEND_TESTS)))

$(LIGHT_SUITES): test-light-%: .venv-light/ready
	@$(call run_tests,$*,.venv-light,$(LIGHT_TESTS))

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy

format: .venv/ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Everything: three backends, the tests' oracles, the tools. torch comes first
# and pinned, so that no other package brings a newer build; for the small CPU build
# where pip's index has the CUDA one: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
.venv/ready: $(SOURCES)
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) torch
	.venv/bin/python $(PIP_INSTALL) --editable '.[jax,tensorflow,torch,detection,finetune,litert,onnx,dev]'
	touch $@

# One light backend and no TensorFlow.
.venv-demo/ready: $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python $(PIP_INSTALL) -r requirements-light.txt jax
	.venv-demo/bin/python $(PIP_INSTALL) --no-deps keras-hub --editable .
	touch $@

# JAX and PyTorch where TensorFlow is not installed, for the tests of just that.
.venv-light/ready: $(SOURCES)
	$(PYTHON) -m venv .venv-light
	.venv-light/bin/python $(PIP_INSTALL) torch
	.venv-light/bin/python $(PIP_INSTALL) -r requirements-light.txt jax pytest
	.venv-light/bin/python $(PIP_INSTALL) --no-deps keras-hub --editable .
	touch $@

clean:
	rm -rf .venv .venv-demo .venv-light demo-output
