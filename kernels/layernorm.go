package kernels

// LayerNormForward normalises each row of x (rows, c) into dst:
//
//	dst[i,j] = (x[i,j] - mean[i]) * rstd[i] * weight[j] + bias[j]
//
// mean and rstd = 1/sqrt(variance + eps) are (rows) and are kept for
// LayerNormBackward. dst may alias x. It panics if a slice is too short.
//
// Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, eq. 4; eps inside the root.
func LayerNormForward(dst, mean, rstd, x, weight, bias []float32, rows, c int, eps float32) {
	must(holds(dst, c, rows, c) && holds(x, c, rows, c), "kernels: LayerNormForward: dst or x does not hold rows × c")
	must(len(mean) >= rows && len(rstd) >= rows, "kernels: LayerNormForward: mean or rstd is shorter than rows")
	must(len(weight) >= c && len(bias) >= c, "kernels: LayerNormForward: weight or bias is shorter than c")
	if rows == 0 || c == 0 {
		return
	}
	args := normArgs{set: current, c: c, y: dst, x: x, weight: weight[:c], bias: bias[:c], mean: mean, rstd: rstd, eps: eps}
	normCalls.chunks(rows, max(1, elementChunk/c), args, func(a *normArgs, lo, hi int) {
		for i := lo; i < hi; i++ {
			r := i * a.c
			a.mean[i], a.rstd[i] = a.set.NormRow(a.y[r:r+a.c], a.x[r:r+a.c], a.weight, a.bias, a.eps)
		}
	})
}

// normArgs are the arguments of the two LayerNorm kernels.
type normArgs struct {
	set          *Set
	c            int
	y, x, dx     []float32 // y: dst or dy
	weight, bias []float32
	mean, rstd   []float32
	eps          float32
}

var (
	normCalls calls[normArgs]
	normSums  = newRowSums[normArgs]()
)

// LayerNormBackward adds the gradients of LayerNormForward, with
// xhat = (x-mean)*rstd and g = dy*weight:
//
//	dx[i,j]    += rstd[i] * (g[i,j] - avg_j(g[i,:]) - xhat[i,j]*avg_j(g[i,:]*xhat[i,:]))
//	dweight[j] += sum over i of dy[i,j]*xhat[i,j]
//	dbias[j]   += sum over i of dy[i,j]
//
// dx, dy and x are (rows, c); dx must not alias dy or x. Blocks of rows are
// summed apart and added in order. It panics if a slice is too short.
func LayerNormBackward(dx, dweight, dbias, dy, x, weight, mean, rstd []float32, rows, c int) {
	must(holds(dx, c, rows, c) && holds(dy, c, rows, c) && holds(x, c, rows, c),
		"kernels: LayerNormBackward: dx, dy or x does not hold rows × c")
	must(len(mean) >= rows && len(rstd) >= rows, "kernels: LayerNormBackward: mean or rstd is shorter than rows")
	must(len(dweight) >= c && len(dbias) >= c && len(weight) >= c,
		"kernels: LayerNormBackward: dweight, dbias or weight is shorter than c")
	if rows == 0 || c == 0 {
		return
	}
	args := normArgs{set: current, c: c, y: dy, x: x, dx: dx, weight: weight[:c], mean: mean, rstd: rstd}
	normSums.run(current, rows, dweight[:c], dbias[:c], args, func(a *normArgs, part []float32, lo, hi int) {
		c := a.c
		for i := lo; i < hi; i++ {
			r := i * c
			a.set.NormRowGrad(a.dx[r:r+c], part[:c], part[c:], a.y[r:r+c], a.x[r:r+c], a.weight, a.mean[i], a.rstd[i])
		}
	})
}
