package kernels

// LogSumExp returns log(sum over j of exp(x[j])) of one row of logits, with the
// sums of CrossEntropy. It runs on the thread that calls it. It panics if x is empty.
func LogSumExp(x []float32) float64 {
	must(len(x) > 0, "kernels: LogSumExp: x is empty")
	set := current
	tmp := borrow(min(len(x), lossChunk))
	defer tmp.giveBack()
	shift := set.Max(x)
	var sum float64
	for lo := 0; lo < len(x); lo += lossChunk {
		part := x[lo:min(len(x), lo+lossChunk)]
		sum += float64(set.ExpSum(tmp.data[:len(part)], part, shift))
	}
	return logRef(sum) + float64(shift)
}
