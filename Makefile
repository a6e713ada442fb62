# make demo, make test; everything else is for contributors. Each target sets up .venv by itself.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# How many processes run the tests: one more than there are processors, as many tests wait for servers; 0 runs them in
# this process, for a debugger.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# For how long `make soak` looks for bad input to each parser, in seconds.
FUZZ_SECONDS ?= 3600
# Which Python makes the environment: make PYTHON=/path/to/python3.11
PYTHON ?=

# Hundreds of processes start in a run: compiled once for all of them, they start several times faster.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test clients check bench bench-clients soak mutants engines format generate release clean

help:
	@echo 'make demo      a cluster of four processes at work: airports in, queries out, a node killed and back'
	@echo 'make test      the tests, in about five minutes; some: make test ARGS="tests/unit -k key"'
	@echo 'make clients   the clients in other languages, and their suite; some: make clients ONLY="go rust"'
	@echo 'make check     style, types, layers, generated files, the protocol, the wheel'
	@echo 'make bench     every benchmark, as ratios; of the clients: make bench-clients'
	@echo 'make soak      the random tests, long, and 1,000 faults of each kind'
	@echo 'make mutants   faults put into keys, queries, order and merge one by one: do the tests notice? An hour'
	@echo 'make engines   FerretDB, which stands for MongoDB in the tests, grpcurl, and generators of clients; needs Go'
	@echo 'make format    format the code'
	@echo 'make generate  write the generated files'
	@echo 'make release   build the wheel and the source distribution of the last commit, and check them'
	@echo 'make clean     remove what all these made'

# A name on the path may be a shim that runs nothing, so each is tried.
$(STAMP): pyproject.toml
	@python=''; \
	for name in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3); do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'No Python 3.11 or newer found: install one, or say where it is: make PYTHON=/path/to/python3.11' >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$($$python --version) (once; about a minute)"; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python demo/run.py

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

clients: $(VENV)/.clients
	@$(BIN)/python tools/clients.py $(ONLY)

$(VENV)/.clients: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[clients]'
	@touch $@

check: $(STAMP)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/python tools/generate.py --check
	$(BIN)/python tools/unasync.py --check
	$(BIN)/python tools/kinds.py --check
	$(BIN)/python tools/client_pages.py --check
	$(BIN)/python tools/generate.py --lint
	$(BIN)/mypy
	$(BIN)/pyright --warnings
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_wheel.py

bench: $(STAMP)
	@$(BIN)/python -m bench

bench-clients: $(STAMP)
	@$(BIN)/python -m bench.clients $(ONLY) $(if $(ENTRIES),--entries $(ENTRIES) --read-slowly $(ENTRIES))

# The reference of the rows beside etcd; needs Go.
build/etcd: bench/etcd_server/main.go bench/etcd_server/go.mod bench/etcd_server/go.sum
	cd bench/etcd_server && go build -o ../../build/etcd .

soak: $(STAMP)
	DATASTORE_HYPOTHESIS=soak $(BIN)/python -m pytest -n $(JOBS) --timeout=0 -o faulthandler_timeout=0 \
		$(or $(ARGS),tests/unit tests/conformance tests/differential tests/faults/test_storms.py \
			tests/faults/test_leaks.py tests/fuzz)
	$(if $(ARGS),,$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]')
	$(if $(ARGS),,$(BIN)/python tools/fuzz.py --seconds $(FUZZ_SECONDS))

# A release of FerretDB knows its version from a file that its Go module lacks; it is written into a copy. The copy also
# looks documents up by the expression that it indexes; as released, each write reads the whole collection.
engines:
	rm -rf build/engines && mkdir -p build && cp -r tests/engines build/engines
	cd build/engines && go mod vendor && \
	go list -f '{{.Module.Version}}' github.com/FerretDB/FerretDB/cmd/ferretdb \
		> vendor/github.com/FerretDB/FerretDB/build/version/version.txt && \
	sed -i.released "s/->'[$$]._id'/->'_id'/" \
		vendor/github.com/FerretDB/FerretDB/internal/backends/sqlite/metadata/metadata.go && \
	go build -o ../ferretdb github.com/FerretDB/FerretDB/cmd/ferretdb
	rm -rf build/engines
	GOBIN=$(abspath build) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
	GOBIN=$(abspath build) go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10
	if command -v npm; then npm install --silent --no-audit --prefix build/clients \
		@grpc/grpc-js@1.14 @grpc/proto-loader@0.8 typescript@5.9 @types/node@20; fi

# Runs in a copy of the last commit, because it rewrites code. Surviving mutants are printed with their changes.
# Some mutants never end, and would use up all memory.
mutants: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	rm -rf build/mutants && mkdir -p build/mutants && git archive HEAD | tar -x -C build/mutants
	ulimit -v 4000000 2>/dev/null || true; \
	cd build/mutants && export PATH=$(abspath $(BIN)):$$PATH && \
	cosmic-ray init tools/mutants.toml session.sqlite && \
	cr-filter-operators session.sqlite tools/mutants.toml && \
	cosmic-ray exec tools/mutants.toml session.sqlite && \
	cr-report session.sqlite --surviving-only --show-diff

format: $(STAMP)
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet

generate: $(STAMP)
	$(BIN)/python tools/generate.py
	$(BIN)/python tools/unasync.py
	$(BIN)/python tools/kinds.py
	$(BIN)/python tools/client_pages.py
	$(BIN)/python tools/clients.py --generate $(ONLY)

release: $(STAMP)
	$(BIN)/python -m tools.release

clean:
	rm -rf $(VENV) build dist bench/latest.json .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
