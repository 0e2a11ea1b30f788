package gpt_test

import (
	"math"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// ref64 is the slow twin of the model: GPT-2's loss in float64, written from
// the equations with plain loops and no backward pass. It holds the weights
// dense, under their names.
type ref64 struct {
	c gpt.Config
	w map[string][]float64
}

// newRef64 copies the weights of m, pruned ones as 0.
func newRef64(m *gpt.Model) *ref64 {
	r := &ref64{c: m.Config, w: map[string][]float64{}}
	for _, p := range m.Params {
		dense := make([]float32, p.Size())
		p.Dense(dense, p.W)
		w := make([]float64, len(dense))
		for i, x := range dense {
			w[i] = float64(x)
		}
		r.w[p.Name] = w
	}
	return r
}

// loss returns the sum of the cross-entropies over targets >= 0.
func (r *ref64) loss(ids, targets []int32, b, t int) float64 {
	var sum float64
	for i := range b {
		logits := r.logits(ids[i*t : (i+1)*t])
		for j := range t {
			if target := targets[i*t+j]; target >= 0 {
				sum += logSumExp(logits[j]) - logits[j][target]
			}
		}
	}
	return sum
}

// logits returns the logits of each position of one sequence.
func (r *ref64) logits(ids []int32) [][]float64 {
	c, t := r.c, len(ids)
	C, hs := c.NEmbd, c.HeadSize()
	x := make([][]float64, t)
	for i, id := range ids {
		x[i] = make([]float64, C)
		for j := range x[i] {
			x[i][j] = r.w["wte.weight"][int(id)*C+j] + r.w["wpe.weight"][i*C+j]
		}
	}
	for layer := range c.NLayer {
		h := "h." + string(rune('0'+layer)) + "."
		qkv := make([][]float64, t)
		for i := range x {
			qkv[i] = r.affine(r.norm(x[i], h+"ln_1"), h+"attn.c_attn", 3*C)
		}
		for i := range x {
			att := make([]float64, C)
			for head := range c.NHead {
				q := qkv[i][head*hs:][:hs]
				score := make([]float64, i+1)
				for j := range score {
					score[j] = dot(q, qkv[j][C+head*hs:][:hs]) / math.Sqrt(float64(hs))
				}
				lse := logSumExp(score)
				for j, s := range score {
					for k := range hs {
						att[head*hs+k] += math.Exp(s-lse) * qkv[j][2*C+head*hs+k]
					}
				}
			}
			add(x[i], r.affine(att, h+"attn.c_proj", C))
		}
		for i := range x {
			wide := r.affine(r.norm(x[i], h+"ln_2"), h+"mlp.c_fc", c.Inner())
			for j, u := range wide {
				wide[j] = 0.5 * u * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(u+0.044715*u*u*u)))
			}
			add(x[i], r.affine(wide, h+"mlp.c_proj", C))
		}
	}
	out := make([][]float64, t)
	for i := range x {
		y := r.norm(x[i], "ln_f")
		out[i] = make([]float64, c.VocabSize)
		for v := range out[i] {
			out[i][v] = dot(y, r.w["wte.weight"][v*C:][:C])
		}
	}
	return out
}

func (r *ref64) norm(x []float64, name string) []float64 {
	var mean, variance float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = (v-mean)/math.Sqrt(variance+r.c.LayerNormEps)*r.w[name+".weight"][i] + r.w[name+".bias"][i]
	}
	return y
}

func (r *ref64) affine(x []float64, name string, out int) []float64 {
	w := r.w[name+".weight"]
	y := append([]float64(nil), r.w[name+".bias"]...)
	for i, v := range x {
		for j := range y {
			y[j] += v * w[i*out+j]
		}
	}
	return y
}

func dot(x, y []float64) float64 {
	var s float64
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

func add(dst, x []float64) {
	for i := range dst {
		dst[i] += x[i]
	}
}

func logSumExp(x []float64) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	var s float64
	for _, v := range x {
		s += math.Exp(v - top)
	}
	return top + math.Log(s)
}
