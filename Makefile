# Two commands set themselves up on a machine with Python 3.11+ and make:
#   make demo   the main job on a picture file, with JAX and the bundled preset
#   make test   the tests on JAX, TensorFlow and PyTorch; docs/tests.md says which where

PYTHON ?= python3
# What no backend can change runs on PyTorch alone (see tests/conftest.py).
BACKEND_TESTS = not one_backend
# What XLA compiles alike for JAX and TensorFlow runs on the first of them.
TENSORFLOW_TESTS = $(if $(BACKEND_TESTS),$(BACKEND_TESTS) and not two_backends)
BACKENDS = jax tensorflow torch
# In several processes, as what XLA and PyTorch compile stays in one. The longest begin.
SUITES = torch-others jax-tasks jax-network jax-others tensorflow-training torch-tasks \
	tensorflow-deploy tensorflow-network torch-with-tensorflow tensorflow-others \
	jax-with-tensorflow tensorflow-answering tensorflow-tasks
RESULTS = build/test-results

# XLA and PyTorch oversubscribe the cores when two test runs share them. What uv installs
# is compiled to bytecode when it is first imported, and kept, whatever the shell says:
# otherwise each process begins with 15 seconds of that.
TEST_ENV = OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=
# Most of the time of tests on JAX and TensorFlow goes to the compiler, and small
# networks need none of its best code; without XLA's own fusions it takes half as long.
CHEAP_CODE = --xla_backend_optimization_level=0 \
	--xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1

# $(call run_tests,suite,backend,environment,tests and options). XLA's compiler has
# ended a process with a segmentation fault: what a signal ends is run once more, what
# fails is not.
define run_tests
run() { $(TEST_ENV) XLA_FLAGS="$(CHEAP_CODE)" KERAS_BACKEND=$(2) $(3)/bin/python -m pytest \
	--quiet --durations=20 --junitxml=$(RESULTS)/$(1).xml -o junit_suite_name=$(1) $(4); }; \
run || { code=$$?; [ $$code -gt 128 ] || exit $$code; \
	echo "pytest was ended by signal $$((code - 128)); once more:"; run; }
endef

SOURCES = pyproject.toml constraints.txt without-tensorflow.txt
EXTRAS = jax,torch,detection,evaluation,finetune,molecules,parquet,tables,video,litert,onnx,dev
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check -c constraints.txt
UV = -m uv pip --quiet
WITHOUT_TENSORFLOW = --excludes without-tensorflow.txt

# $(call make_environment,environment,what uv installs). torch comes first and from pip,
# so that no other package brings another build of it; for the small CPU build where
# pip's index has the CUDA one: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
define make_environment
$(PYTHON) -m venv $(1)
$(1)/bin/python $(PIP_INSTALL) uv torch
$(1)/bin/python $(UV) install --python $(1)/bin/python $(2)
touch $(1)/ready
endef

.PHONY: demo test test-all test-oldest test-newest fuzz lint format clean \
	$(BACKENDS:%=test-%) $(SUITES:%=test-%)

demo: .venv-demo/ready
	KERAS_BACKEND=jax .venv-demo/bin/keras-pg2 demo --output demo-output

test:
	rm -rf $(RESULTS)
	$(MAKE) --no-print-directory --jobs 2 .venv/ready .venv-tensorflow/ready
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target \
		BACKEND_TESTS='$(BACKEND_TESTS)' $(SUITES:%=test-%)

# Every test on every backend.
test-all: BACKEND_TESTS =
test-all: test

$(BACKENDS:%=test-%): test-%:
	@$(MAKE) --no-print-directory $(patsubst %,test-%,$(filter $*-%,$(SUITES)))

network = tests/modeling tests/parity tests/generation
deploy = tests/deploy tests/finetuning
training = tests/tasks/training tests/tasks/adapters
answering = tests/tasks/answering
but_for = $(1:%=--ignore=%)

test-jax-network: .venv/ready
	@$(call run_tests,jax-network,jax,.venv,$(network) -m '$(BACKEND_TESTS)')

test-jax-tasks: .venv/ready
	@$(call run_tests,jax-tasks,jax,.venv,tests/tasks -m '$(BACKEND_TESTS)')

test-jax-others: .venv/ready
	@$(call run_tests,jax-others,jax,.venv,$(call but_for,$(network) tests/tasks) \
		-m '$(BACKEND_TESTS)')

test-torch-tasks: .venv/ready
	@$(call run_tests,torch-tasks,torch,.venv,tests/tasks)

test-torch-others: .venv/ready
	@$(call run_tests,torch-others,torch,.venv,--ignore=tests/tasks)

$(patsubst %,test-tensorflow-%,network deploy training answering): test-tensorflow-%: \
		.venv-tensorflow/ready
	@$(call run_tests,tensorflow-$*,tensorflow,.venv-tensorflow,$($*) \
		-m '$(TENSORFLOW_TESTS)')

test-tensorflow-tasks: .venv-tensorflow/ready
	@$(call run_tests,tensorflow-tasks,tensorflow,.venv-tensorflow,tests/tasks \
		$(call but_for,$(training) $(answering)) -m '$(TENSORFLOW_TESTS)')

test-tensorflow-others: .venv-tensorflow/ready
	@$(call run_tests,tensorflow-others,tensorflow,.venv-tensorflow,\
		$(call but_for,$(network) $(deploy) tests/tasks) -m '$(TENSORFLOW_TESTS)')

test-torch-with-tensorflow: .venv-tensorflow/ready
	@$(call run_tests,torch-with-tensorflow,torch,.venv-tensorflow,-m needs_tensorflow)

test-jax-with-tensorflow: .venv-tensorflow/ready
	@$(call run_tests,jax-with-tensorflow,jax,.venv-tensorflow,\
		-m 'needs_tensorflow$(if $(BACKEND_TESTS), and $(BACKEND_TESTS))')

# The core of the tests with the lowest versions that pyproject.toml allows, and with
# the newest there are. Old libraries are warned by newer ones below them.
CORE = tests/modeling tests/preprocessing tests/generation tests/parity \
	tests/conversion/keras tests/conversion/huggingface tests/tasks/test_causal_lm.py \
	tests/tasks/answering tests/tasks/loading
test-oldest: WARNINGS = -W default
test-oldest test-newest: test-%: .venv-%/ready
	@$(call run_tests,$*,torch,.venv-$*,$(CORE) $(WARNINGS))

# Damaged files for every reader: make fuzz COUNT=200000 SEED=1
COUNT = 20000
SEED = 0
fuzz: .venv/ready
	$(TEST_ENV) KERAS_BACKEND=torch .venv/bin/python -m tests.fuzz --count $(COUNT) \
		--seed $(SEED)

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy

format: .venv/ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# JAX and PyTorch, the tests' oracles, the tools.
.venv/ready: $(SOURCES)
	$(call make_environment,.venv,\
		-c constraints.txt $(WITHOUT_TENSORFLOW) --editable '.[$(EXTRAS)]')

# The same with TensorFlow.
.venv-tensorflow/ready: $(SOURCES)
	$(call make_environment,.venv-tensorflow,\
		-c constraints.txt --editable '.[$(EXTRAS)]' --editable '.[tensorflow]')

.venv-newest/ready: $(SOURCES)
	$(call make_environment,.venv-newest,$(WITHOUT_TENSORFLOW) --editable '.[$(EXTRAS)]')

# The lowest versions of what the package requires; of torch the pinned one, as PyPI has
# older ones for CUDA alone, and of the libraries that tests compare with those of today.
.venv-oldest/ready: $(SOURCES) build/oldest.txt
	$(call make_environment,.venv-oldest,\
		-c build/oldest.txt $(WITHOUT_TENSORFLOW) --editable '.[$(EXTRAS)]')

build/oldest.txt: $(SOURCES) .venv/ready
	grep -E '^(torch|transformers|peft|litert-lm-api)==' constraints.txt | \
		.venv/bin/python $(UV) compile pyproject.toml - --no-header --no-annotate \
		--resolution lowest-direct $(WITHOUT_TENSORFLOW) \
		$(patsubst %,--extra %,jax torch detection evaluation finetune molecules tables video litert onnx) --output-file $@

# One light backend.
.venv-demo/ready: $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python $(PIP_INSTALL) uv
	.venv-demo/bin/python $(UV) install --python .venv-demo/bin/python \
		-c constraints.txt $(WITHOUT_TENSORFLOW) --editable '.[jax]'
	touch $@

clean:
	rm -rf .venv .venv-* demo-output build
