package tfevents

import "math"

// histogramBuckets is the resolution of NewHistogram; TensorBoard shows 30.
const histogramBuckets = 64

// NewHistogram counts values in 64 buckets of equal width from the least to the
// greatest. Values that are not finite are left out; of no value at all it
// returns nil.
func NewHistogram(values []float32) *Histogram {
	h := &Histogram{Min: math.Inf(1), Max: math.Inf(-1)}
	for _, v := range values {
		x := float64(v)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		h.Min, h.Max = min(h.Min, x), max(h.Max, x)
		h.Num++
		h.Sum += x
		h.SumSquares += float64(x * x) // not fused: the same bits everywhere
	}
	if h.Num == 0 {
		return nil
	}
	if h.Min == h.Max {
		h.Limits, h.Buckets = []float64{h.Max}, []float64{h.Num}
		return h
	}
	h.Limits = make([]float64, histogramBuckets)
	h.Buckets = make([]float64, histogramBuckets)
	width := (h.Max - h.Min) / histogramBuckets
	for i := range h.Limits {
		h.Limits[i] = h.Min + float64(width*float64(i+1))
	}
	h.Limits[histogramBuckets-1] = h.Max // without the rounding
	for _, v := range values {
		x := float64(v)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		i := min(max(int(math.Ceil((x-h.Min)/width))-1, 0), histogramBuckets-1)
		// The division may round across a limit.
		for i > 0 && x <= h.Limits[i-1] {
			i--
		}
		for i < histogramBuckets-1 && x > h.Limits[i] {
			i++
		}
		h.Buckets[i]++
	}
	return h
}
