// Package optim is the update rule: AdamW, global-norm clipping and the
// learning-rate schedules.
package optim

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// Tensor is one parameter as the optimizer sees it: the weights that exist
// and their gradients. Pruned weights are not among them, so they take part
// in nothing: no norm, no decay, no moment.
type Tensor struct {
	Name    string
	W, Grad []float32
	Decay   bool // weight decay applies

	// LRScale multiplies the learning rate of this tensor; 0 means 1.
	LRScale float64
}

// AdamWConfig holds the constants of AdamW.
type AdamWConfig struct {
	Beta1       float64 `yaml:"beta1"`
	Beta2       float64 `yaml:"beta2"`
	Eps         float64 `yaml:"eps"`
	WeightDecay float64 `yaml:"weight_decay"`
}

// Validate reports a constant outside its range.
func (c AdamWConfig) Validate() error {
	switch {
	case !(c.Beta1 >= 0 && c.Beta1 < 1):
		return configErrorf("beta1", "beta1 %g is outside [0, 1)", c.Beta1)
	case !(c.Beta2 >= 0 && c.Beta2 < 1):
		return configErrorf("beta2", "beta2 %g is outside [0, 1)", c.Beta2)
	case !(c.Eps > 0 && c.Eps < 1):
		return configErrorf("eps", "eps %g is outside (0, 1)", c.Eps)
	case !(c.WeightDecay >= 0 && c.WeightDecay < 1e6):
		return configErrorf("weight_decay", "weight_decay %g is negative or too large", c.WeightDecay)
	}
	return nil
}

// ConfigError is a setting that is out of range.
type ConfigError struct {
	Key  string // one of AdamWConfig's, or lr, min_lr_ratio, lr_schedule, warmup or decay of a Schedule
	Text string
}

func (e *ConfigError) Error() string { return "optim: " + e.Text }

func configErrorf(key, format string, args ...any) error {
	return &ConfigError{Key: key, Text: fmt.Sprintf(format, args...)}
}

// AdamW keeps the moments of a list of tensors.
type AdamW struct {
	Config AdamWConfig
	Step   int         // updates done
	M, V   [][]float32 // first and second moments, one per tensor, like its W
	params []Tensor
}

// NewAdamW returns an optimizer for params with all moments zero.
func NewAdamW(params []Tensor, c AdamWConfig) *AdamW {
	o := &AdamW{Config: c, params: params}
	for _, p := range params {
		o.M = append(o.M, make([]float32, len(p.W)))
		o.V = append(o.V, make([]float32, len(p.W)))
	}
	return o
}

// Update applies one step at learning rate lr, in the order of operations of
// torch.optim.AdamW.
//
// Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", 2019,
// algorithm 2.
func (o *AdamW) Update(lr float64) {
	o.Step++
	c := o.Config
	p := kernels.AdamWParams{
		Beta1: c.Beta1, Beta2: c.Beta2, Eps: c.Eps,
		C1: 1 - math.Pow(c.Beta1, float64(o.Step)),
		C2: 1 - math.Pow(c.Beta2, float64(o.Step)),
	}
	for i, t := range o.params {
		p.LR = lr
		if t.LRScale != 0 {
			p.LR = lr * t.LRScale
		}
		p.WeightDecay = 0
		if t.Decay {
			p.WeightDecay = c.WeightDecay
		}
		kernels.AdamW(t.W, t.Grad, o.M[i], o.V[i], p)
	}
}

// clipEps keeps the clipping factor finite, as torch.nn.utils.clip_grad_norm_ does.
const clipEps = 1e-6

// GradNorm returns the L2 norm over the gradients of all tensors.
func GradNorm(params []Tensor) float64 {
	var sum float64
	for _, p := range params {
		sum += kernels.SumSquares(p.Grad)
	}
	return math.Sqrt(sum)
}

// Clip scales all gradients so that their global norm, which is norm, does not
// exceed limit; limit 0 leaves them alone.
//
// Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent
// neural networks", 2013, algorithm 1, with torch's 1e-6 in the denominator.
func Clip(params []Tensor, norm, limit float64) {
	if limit <= 0 {
		return
	}
	factor := limit / (norm + clipEps)
	if !(factor < 1) {
		return
	}
	for _, p := range params {
		kernels.Scale(p.Grad, float32(factor))
	}
}
