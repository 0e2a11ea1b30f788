// Package metrics scores texts against references. Every metric is one file,
// follows one published script to the last digit that it prints, and says which
// in its signature.
package metrics
