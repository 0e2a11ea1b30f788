//go:build !linux

package main

import "runtime"

// resetPeakRSS has nothing to reset: see peakRSS.
func resetPeakRSS() {}

// peakRSS returns the memory that Go took from the system, in bytes: without
// /proc the nearest to what the process had at once.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
