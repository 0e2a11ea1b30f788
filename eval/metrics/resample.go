package metrics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/spdfctl/spdfctl/kernels"
)

// maxSamples bounds the number of resamples.
const maxSamples = 1_000_000

// Interval is a 95 % confidence interval from bootstrap resamples.
type Interval struct {
	Mean, Low, High float64
	Samples         int
}

// Bootstrap scores samples resamples of the segments, drawn with replacement, and
// returns their mean and the interval that leaves out a fortieth of them at either
// end. The weights that a metric learnt from the references stay. The result
// depends on samples and seed only.
//
// Source: Koehn, "Statistical Significance Tests for Machine Translation
// Evaluation", EMNLP 2004; the bounds are sacreBLEU's.
func (s Score) Bootstrap(samples int, seed uint64) (Interval, error) {
	if err := checkSamples(s.Name, samples); err != nil {
		return Interval{}, err
	}
	return interval(resample(samples, seed, len(s.rows), s)[0]), nil
}

func checkSamples(name string, samples int) error {
	if samples < 2 || samples > maxSamples {
		return fmt.Errorf("metrics: %s: %d resamples, outside 2 to %d", name, samples, maxSamples)
	}
	return nil
}

// resample scores the same resamples of several systems.
func resample(samples int, seed uint64, segments int, scores ...Score) [][]float64 {
	out := make([][]float64, len(scores))
	for k := range out {
		out[k] = make([]float64, samples)
	}
	kernels.Parallel(samples, func(i int) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		drawn := make([]int, segments)
		for j := range drawn {
			drawn[j] = r.IntN(segments)
		}
		for k, s := range scores {
			sum := make([]float64, len(s.rows[0]))
			for _, j := range drawn {
				for c, v := range s.rows[j] {
					sum[c] += v
				}
			}
			out[k][i] = s.total(sum)
		}
	})
	return out
}

func interval(values []float64) Interval {
	sorted := slices.Sorted(slices.Values(values))
	low := len(sorted) / 40
	return Interval{Mean: stat.Mean(sorted, nil), Low: sorted[low], High: sorted[len(sorted)-1-low], Samples: len(sorted)}
}

// Comparison is a system beside a baseline on the same segments.
type Comparison struct {
	Difference float64  // the system's score less the baseline's
	System     Interval // of bootstrap resamples
	Baseline   Interval
	// PBootstrap and PRandomization are the probabilities of a difference at least
	// as large between equal systems, by paired bootstrap resampling and by paired
	// approximate randomisation.
	PBootstrap, PRandomization float64
}

// Compare tests whether system and baseline, scored by the same metric on the same
// segments, differ, with samples resamples and as many random exchanges. The result
// depends on samples and seed only.
//
// Source: Koehn, EMNLP 2004; Riezler, Maxwell, "On Some Pitfalls in Automatic
// Evaluation and Significance Testing for MT", 2005; the p-values are sacreBLEU's,
// (c+1)/(samples+1) with c the samples beyond the difference.
func Compare(system, baseline Score, samples int, seed uint64) (Comparison, error) {
	if err := checkSamples(system.Name, samples); err != nil {
		return Comparison{}, err
	}
	if system.Name != baseline.Name || len(system.rows) != len(baseline.rows) {
		return Comparison{}, fmt.Errorf("metrics: %s of %d segments beside %s of %d", system.Name, len(system.rows), baseline.Name, len(baseline.rows))
	}
	both := resample(samples, seed, len(system.rows), system, baseline)
	c := Comparison{Difference: system.Value - baseline.Value, System: interval(both[0]), Baseline: interval(both[1])}
	differences := make([]float64, samples)
	for i := range differences {
		differences[i] = math.Abs(both[0][i] - both[1][i])
	}
	mean := stat.Mean(differences, nil)
	for i := range differences {
		differences[i] -= mean
	}
	c.PBootstrap = pValue(differences, math.Abs(c.Difference))
	kernels.Parallel(samples, func(i int) {
		r := rand.New(rand.NewPCG(seed, ^uint64(i)))
		a, b := make([]float64, len(system.rows[0])), make([]float64, len(system.rows[0]))
		for j := range system.rows {
			x, y := system.rows[j], baseline.rows[j]
			if r.IntN(2) == 1 {
				x, y = y, x
			}
			for k := range a {
				a[k] += x[k]
				b[k] += y[k]
			}
		}
		differences[i] = math.Abs(system.total(a) - system.total(b))
	})
	c.PRandomization = pValue(differences, math.Abs(c.Difference))
	return c, nil
}

// pValue is the share of values above the difference. Sums in another order differ
// in the last bits, which must not count. No difference at all is always likely,
// where sacreBLEU's formula gives the smallest value possible.
func pValue(values []float64, difference float64) float64 {
	const bits = 1e-12
	if difference == 0 {
		return 1
	}
	n := 1
	for _, v := range values {
		if v > difference+bits*max(1, math.Abs(difference)) {
			n++
		}
	}
	return float64(n) / float64(len(values)+1)
}
