package kernels

// lossChunk is the number of logits whose exponentials are summed in float32
// before they join the float64 sum of the row.
const lossChunk = 4096

// SoftmaxCrossEntropy turns each row of logits (rows, v) into its gradient
// times scale, in place, and writes the loss of each row:
//
//	losses[i]   = log(sum over j of exp(logits[i,j])) - logits[i,targets[i]]
//	logits[i,j] = scale * (softmax(logits[i,:])[j] - [j == targets[i]])
//
// A row whose target is negative does not count: loss and gradient are 0.
// It panics if a slice is too short or a target is not below v.
func SoftmaxCrossEntropy(losses []float32, logits []float32, targets []int32, rows, v int, scale float32) {
	checkLoss(losses, logits, targets, rows, v)
	args := lossArgs{current, losses, logits, targets, v, scale}
	lossCalls.parallel(rows, args, (*lossArgs).gradientRow)
}

// lossArgs are the arguments of the two cross-entropies.
type lossArgs struct {
	set            *Set
	losses, logits []float32
	targets        []int32
	v              int
	scale          float32
}

var lossCalls calls[lossArgs]

// gradientRow computes the loss of row i and turns its logits into the gradient.
func (a *lossArgs) gradientRow(i int) {
	set, row, target := a.set, a.logits[i*a.v:(i+1)*a.v], int(a.targets[i])
	if target < 0 {
		a.losses[i] = 0
		clear(row)
		return
	}
	picked := row[target]
	shift := set.Max(row)
	var sum float64
	for lo := 0; lo < a.v; lo += lossChunk {
		part := row[lo:min(a.v, lo+lossChunk)]
		sum += float64(set.ExpSum(part, part, shift))
	}
	a.losses[i] = rowLoss(sum, shift, picked)
	set.Scale(row, float32(float64(a.scale)/sum))
	row[target] -= a.scale
}

// lossRow computes the loss of row i.
func (a *lossArgs) lossRow(i int) {
	set, row, target := a.set, a.logits[i*a.v:(i+1)*a.v], int(a.targets[i])
	if target < 0 {
		a.losses[i] = 0
		return
	}
	tmp := borrow(min(a.v, lossChunk))
	shift := set.Max(row)
	var sum float64
	for lo := 0; lo < a.v; lo += lossChunk {
		part := row[lo:min(a.v, lo+lossChunk)]
		sum += float64(set.ExpSum(tmp.data[:len(part)], part, shift))
	}
	tmp.giveBack()
	a.losses[i] = rowLoss(sum, shift, row[target])
}

// CrossEntropy writes the losses of SoftmaxCrossEntropy, with the same bits,
// and leaves logits unchanged.
func CrossEntropy(losses, logits []float32, targets []int32, rows, v int) {
	checkLoss(losses, logits, targets, rows, v)
	lossCalls.parallel(rows, lossArgs{set: current, losses: losses, logits: logits, targets: targets, v: v}, (*lossArgs).lossRow)
}

func checkLoss(losses, logits []float32, targets []int32, rows, v int) {
	must(holds(logits, v, rows, v), "kernels: cross entropy: logits do not hold rows × v")
	must(len(losses) >= rows && len(targets) >= rows, "kernels: cross entropy: losses or targets are shorter than rows")
	for _, t := range targets[:rows] {
		must(int(t) < v, "kernels: cross entropy: target is outside the vocabulary")
	}
}

func rowLoss(sum float64, shift, picked float32) float32 {
	return float32(logRef(sum) + (float64(shift) - float64(picked)))
}
