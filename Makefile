# The environment is VENV; PYTHON makes it. Both targets make the same one, and only once.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
SHAPES := work_dirs/ssd_menet228_shapes

.PHONY: quickstart test setup lint

# The main job on generated pictures: data, training, evaluation, pictures.
quickstart: setup
	$(BIN)/python tools/make_shapes.py
	$(BIN)/python tools/train.py configs/ssd_menet228_shapes.py --work-dir $(SHAPES) --cfg-options randomness.seed=0
	$(BIN)/python tools/test.py configs/ssd_menet228_shapes.py $$(cat $(SHAPES)/last_checkpoint) --work-dir $(SHAPES)/test \
		--out $(SHAPES)/predictions.pkl
	$(BIN)/python tools/report.py configs/ssd_menet228_shapes.py $(SHAPES)/predictions.pkl --work-dir $(SHAPES)

# All tests, JOBS at a time on one thread each; `make test ARGS="-m 'not slow'"` leaves out those that train for minutes.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup:
	@$(PYTHON) tools/setup_env.py $(VENV)
