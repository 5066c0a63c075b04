# STACK says whose MM libraries: onedl, or openmmlab for OpenMMLab's own packages (docs/install.md). Each has an environment
# of its own, VENV, made once by PYTHON: the first that runs here of those that the stack is tested with.
STACK ?= onedl
VENV ?= $(if $(filter onedl,$(STACK)),.venv,.venv-$(STACK))
PYTHONS := $(if $(filter onedl,$(STACK)),python3.12) python3.11 python3
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c '' 2>/dev/null && echo $$p && break; done)
JOBS ?= 2
BIN := $(VENV)/bin
SHAPES := work_dirs/ssd_menet228_shapes

.PHONY: quickstart test docs setup lint

# The main job on generated pictures: data, training, evaluation, pictures. Started again, it goes on where it stopped.
quickstart: setup
	$(BIN)/python tools/make_shapes.py
	$(BIN)/python tools/train.py configs/ssd_menet228_shapes.py --resume --work-dir $(SHAPES) --cfg-options randomness.seed=0
	$(BIN)/python tools/test.py configs/ssd_menet228_shapes.py $(SHAPES)/$$(cat $(SHAPES)/last_checkpoint) --work-dir $(SHAPES)/test \
		--out $(SHAPES)/predictions.pkl
	$(BIN)/python tools/report.py configs/ssd_menet228_shapes.py $(SHAPES)/predictions.pkl --work-dir $(SHAPES)
	@awk -F, '$$1 == "mean" {printf "\nmAP:      %.3f (expected: 0.73 to 0.78)\n", $$NF}' $(SHAPES)/report/ap_by_class.csv
	@echo 'report:   $(SHAPES)/report/report.html'
	@echo 'pictures: $(SHAPES)/report/detections.png'
	@echo 'next:     your own data: $(BIN)/python tools/new_project.py FOLDER --out NAME (docs/own_data.md)'

# The tests, JOBS at a time on one thread each; `make test ARGS="-m 'not slow'"` leaves out those that train for minutes.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The pages, with their links checked, in docs/_build/html.
docs: EXTRA := --extra docs
docs: setup
	rm -rf docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d docs/_build/doctrees . docs/_build/html
	@echo docs/_build/html/index.html

setup:
	@$(or $(PYTHON),python3) tools/setup_env.py $(VENV) --stack $(STACK) $(EXTRA)
