# Every target runs what .ci/run runs, so that "it passed here" means the same.

.PHONY: all check test conformance bench generate

all:
	go build -o spdfctl ./cmd/spdfctl

# Everything that must hold before a change goes in.
check:
	.ci/run

test:
	go test ./...

# make conformance DATA=../shared/data
conformance:
	@test -n "$(DATA)" || { echo "make: conformance: DATA names no folder; write make conformance DATA=FOLDER" >&2; exit 2; }
	@test -d "$(DATA)" || { echo "make: conformance: $(DATA) is not a folder" >&2; exit 2; }
	SPDF_DATA="$(abspath $(DATA))" .ci/run conformance

bench:
	go test -run '^$$' -bench . ./kernels/...

# Writes the assembly of the kernels anew.
generate:
	cd kernels/_gen && go run . ..
