# Every target sets up what it needs first; all are safe to repeat.
.PHONY: demo test bench lint setup
setup:
	@scripts/setup.sh
demo: setup
	@./fedvit demo $(ARGS)
test: setup
	@scripts/test.sh $(ARGS)
bench: setup
	@./fedvit bench all $(ARGS)
lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
