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
	set := current
	weight, bias = weight[:c], bias[:c]
	parallelChunks(rows, max(1, elementChunk/c), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			mean[i], rstd[i] = set.NormRow(dst[i*c:(i+1)*c], x[i*c:(i+1)*c], weight, bias, eps)
		}
	})
}

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
	set := current
	weight = weight[:c]
	sumOverRows(set, rows, [][]float32{dweight[:c], dbias[:c]}, func(part []float32, lo, hi int) {
		for i := lo; i < hi; i++ {
			r := i * c
			set.NormRowGrad(dx[r:r+c], part[:c], part[c:], dy[r:r+c], x[r:r+c], weight, mean[i], rstd[i])
		}
	})
}
