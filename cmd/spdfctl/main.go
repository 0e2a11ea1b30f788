// Command spdfctl pre-trains language models sparsely, densifies and
// fine-tunes them, converts and scores them, and accounts for the FLOPs.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
