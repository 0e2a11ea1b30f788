package analysis_test

import (
	"math"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Every preset beyond GPT-2 has exactly the parameters that its authors give.
func TestShapePresets(t *testing.T) {
	checked := 0
	for _, name := range analysis.ShapePresetNames() {
		s, err := analysis.ResolveShape(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, ok := analysis.PublishedParameters(name)
		if !ok {
			// GPT-2's: package gpt checks them.
			c, _ := gpt.Preset(name)
			want = c.Params().Total()
		} else {
			checked++
		}
		if got := s.Parameters().Total(); got != want {
			t.Errorf("%s: %d parameters, published %d", name, got, want)
		}
	}
	if checked != 18 {
		t.Errorf("%d presets with a published count, want 18", checked)
	}
}

// The same shapes from the config.json that their authors released, in the
// fields that matter.
func TestParseShape(t *testing.T) {
	for _, tc := range []struct{ preset, config string }{
		{"llama-2-70b", `{"model_type":"llama","vocab_size":32000,"hidden_size":8192,"num_hidden_layers":80,"num_attention_heads":64,"num_key_value_heads":8,"intermediate_size":28672,"max_position_embeddings":4096,"tie_word_embeddings":false,"rms_norm_eps":1e-5}`},
		{"mistral-7b", `{"model_type":"mistral","vocab_size":32000,"hidden_size":4096,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"max_position_embeddings":32768,"sliding_window":4096}`},
		{"mixtral-8x7b", `{"model_type":"mixtral","vocab_size":32000,"hidden_size":4096,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"max_position_embeddings":32768,"num_local_experts":8,"num_experts_per_tok":2}`},
		{"pythia-70m", `{"model_type":"gpt_neox","vocab_size":50304,"hidden_size":512,"num_hidden_layers":6,"num_attention_heads":8,"intermediate_size":2048,"max_position_embeddings":2048,"use_parallel_residual":true}`},
		{"gpt2", `{"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":768,"n_layer":12,"n_head":12}`},
	} {
		want, err := analysis.ResolveShape(tc.preset)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := analysis.ParseShape([]byte(tc.config)); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", tc.preset, got, err, want)
		}
	}
	for _, tc := range []struct{ config, want string }{
		{`{`, "unexpected end"},
		{`{"model_type":"bert"}`, `model_type is "bert"`},
		{`{"model_type":"llama"}`, "vocab_size is 0"},
		{`{"model_type":"llama","vocab_size":10,"hidden_size":9,"num_attention_heads":2,"num_hidden_layers":1,"intermediate_size":1,"max_position_embeddings":1}`, "hidden_size 9 is not a multiple"},
		{`{"model_type":"llama","vocab_size":10,"hidden_size":8,"num_attention_heads":4,"num_key_value_heads":3,"num_hidden_layers":1,"intermediate_size":1,"max_position_embeddings":1}`, "n_head 4 is not a multiple of n_kv_head 3"},
		{`{"model_type":"llama","vocab_size":10,"hidden_size":8,"num_attention_heads":4,"attention_bias":true}`, "attention_bias"},
		{`{"model_type":"mixtral","vocab_size":10,"hidden_size":8,"num_attention_heads":4}`, "num_local_experts is 0"},
		{`{"model_type":"mixtral","vocab_size":10,"hidden_size":8,"num_attention_heads":4,"num_hidden_layers":1,"intermediate_size":1,"max_position_embeddings":1,"num_local_experts":2,"num_experts_per_tok":3}`, "experts_per_token is 3"},
		{`{"model_type":"gpt_neox","attention_bias":false}`, "attention_bias is false"},
		{`{"model_type":"llama","vocab_size":10,"hidden_size":8,"num_attention_heads":1048576,"head_dim":1048576,"num_hidden_layers":4096,"intermediate_size":1048576,"max_position_embeddings":1}`, "head_size is 1048576"},
	} {
		if _, err := analysis.ParseShape([]byte(tc.config)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.config, err, tc.want)
		}
	}
}

func FuzzShape(f *testing.F) {
	f.Add([]byte(`{"model_type":"llama","vocab_size":10,"hidden_size":8,"num_attention_heads":4,"num_hidden_layers":1,"intermediate_size":3,"max_position_embeddings":5}`))
	f.Add([]byte(`{"model_type":"mixtral","vocab_size":10,"hidden_size":8,"num_attention_heads":4,"num_hidden_layers":1,"intermediate_size":3,"max_position_embeddings":5,"num_local_experts":2,"num_experts_per_tok":1}`))
	f.Add([]byte(`{"model_type":"gpt_neox","vocab_size":1,"hidden_size":1,"num_attention_heads":1,"num_hidden_layers":1,"intermediate_size":1,"max_position_embeddings":1}`))
	f.Add([]byte(`{"model_type":"gpt2","vocab_size":5,"n_positions":4,"n_embd":4,"n_layer":1,"n_head":2,"n_inner":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := analysis.ParseShape(data)
		if err != nil {
			return
		}
		if s.NLayer > 64 {
			s.NLayer = 64
		}
		if p := s.Parameters(); p.Total() <= 0 || p.Weights <= 0 {
			t.Errorf("%+v: %+v", s, p)
		}
		if s.Validate() == nil {
			if _, err := s.Ledger(analysis.Chinchilla, 1, nil); err != nil {
				t.Error(err)
			}
		}
	})
}

// Grouped queries and experts: 6 N per token over the weights that a token
// meets, by hand.
func TestLedgerOfExperts(t *testing.T) {
	s := analysis.Shape{Family: analysis.FamilyMixtral, VocabSize: 10, NCtx: 4, NEmbd: 8, NLayer: 2, NHead: 4, NKVHead: 2, HeadSize: 2,
		NInner: 6, GatedMLP: true, Experts: 3, ExpertsPerToken: 2}
	// q and o 64, k and v 32, three matrices of 48 in two experts, router 24.
	const perBlock = 64 + 64 + 32 + 32 + 2*3*48 + 24
	rows, err := s.Ledger(analysis.SixN, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, r := range rows {
		total += float(r.Total)
	}
	if want := 3.0 * 2 * 4 * (2*perBlock + 80); total != want {
		t.Errorf("%g FLOPs, want %g", total, want)
	}
	p := s.Parameters()
	if want := int64(2*(64+64+32+32+3*3*48+24+2*8) + 8 + 2*80); p.Total() != want {
		t.Errorf("%d parameters, want %d", p.Total(), want)
	}
	spdf, err := s.Ledger(analysis.SPDF, 4, analysis.UniformKept(sparsity(t, "0.5")))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range spdf {
		switch r.Kind {
		case analysis.KindScores: // 4 heads of 2, whatever the keys share
			if r.Forward.Int64() != 4*16*8 {
				t.Errorf("scores: %v FLOPs, want %d", r.Forward, 4*16*8)
			}
		case analysis.KindGate:
			if r.MACsPerToken != 2*24 || r.Optimizer.Int64() != analysis.AdamWFLOPs*3*24 {
				t.Errorf("%s: %d multiply-adds, update %v, want %d and %d", r.Name, r.MACsPerToken, r.Optimizer, 2*24, analysis.AdamWFLOPs*3*24)
			}
		}
	}
}

// The buffers that the ledger prices are those that the model makes.
func TestActivationMemory(t *testing.T) {
	wide := tiny
	wide.VocabSize, wide.NCtx = 1<<19, 129
	cases := []struct {
		c    gpt.Config
		b, t int
	}{{tiny, 1, 8}, {tiny, 3, 5}}
	if !testing.Short() { // its logits are cut into two chunks, of 130 MiB
		cases = append(cases, struct {
			c    gpt.Config
			b, t int
		}{wide, 1, 129})
	}
	for _, tc := range cases {
		m, err := gpt.New(tc.c, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]int32, tc.b*tc.t)
		if _, _, err := m.LossAndGrad(ids, ids, tc.b, tc.t, 1); err != nil {
			t.Fatal(err)
		}
		r, err := analysis.ShapeOf(tc.c).Report(analysis.Request{Convention: analysis.SPDF, SeqLen: tc.t, Tokens: 1, BatchSize: tc.b})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.DenseMemory.Activations, 4*m.BufferFloats(); got != want {
			t.Errorf("%d x %d tokens: %d bytes of activations priced, the model has %d", tc.b, tc.t, got, want)
		}
	}
}

// The 6.7 B run of variable SPDF: 90 % sparse for 133.2 B tokens, then dense for
// 20 B. Its authors promise 64 % fewer FLOPs than the dense model on 133.2 B.
func TestVariableSPDF(t *testing.T) {
	s, err := analysis.ResolveShape("cerebras-gpt-6.7b")
	if err != nil {
		t.Fatal(err)
	}
	const sparse, dense = 62_523 * 1040, 9_379 * 1040
	plan, err := analysis.PlanFLOPs(s, analysis.SPDF, []analysis.Phase{
		{Name: "sparse", SeqLen: 2048, Stretches: analysis.Static(sparse, 0.9, analysis.UniformKept(sparsity(t, "0.9")))},
		{Name: "dense", SeqLen: 2048, Stretches: analysis.Static(dense, 0, nil)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := float(plan.FLOPsTotal) / float(plan.Phases[0].DenseFLOPs); math.Abs(got-0.343) > 0.001 {
		t.Errorf("%.4f of the dense pre-training, want 0.343", got)
	}
	kept := float64(plan.Parameters) - 0.9*32*12*4096*4096
	want := (kept*sparse + float64(plan.Parameters)*dense) / (sparse + dense)
	if math.Abs(plan.AverageParameters/want-1) > 1e-6 {
		t.Errorf("%.6g parameters on average, want %.6g", plan.AverageParameters, want)
	}
}

func TestGradual(t *testing.T) {
	list, err := analysis.Gradual(analysis.CurveCubic, 0, 0.8, 100, 4, 20, 60, 10)
	if err != nil {
		t.Fatal(err)
	}
	// 20 steps dense, four updates of 10, 40 steps at the end.
	want := []analysis.Stretch{{Sequences: 80}, {Sequences: 40}, {Sequences: 40, Sparsity: 0.8 * (1 - 0.421875)},
		{Sequences: 40, Sparsity: 0.8 * (1 - 0.125)}, {Sequences: 40, Sparsity: 0.8 * (1 - 0.015625)}, {Sequences: 160, Sparsity: 0.8}}
	if len(list) != len(want) {
		t.Fatalf("%d stretches, want %d: %+v", len(list), len(want), list)
	}
	target := masks.Target{Name: "w", Out: 10, In: 100}
	for i, x := range list {
		if x.Sequences != want[i].Sequences || math.Abs(x.Sparsity-want[i].Sparsity) > 1e-12 {
			t.Errorf("stretch %d: %d sequences at %g, want %d at %g", i, x.Sequences, x.Sparsity, want[i].Sequences, want[i].Sparsity)
		}
		if got := x.Kept(target); got != 1000-int(math.Round(1000*want[i].Sparsity)) {
			t.Errorf("stretch %d: %d of 1000 kept at %g", i, got, x.Sparsity)
		}
	}
	for _, tc := range []struct {
		curve                          string
		from, to                       float64
		steps, batch, start, end, each int64
		want                           string
	}{
		{"log", 0, 0.5, 10, 1, 0, 10, 1, `curve "log" is none of`},
		{analysis.CurveLinear, 0, 0.5, 0, 1, 0, 0, 1, "must be at least 1"},
		{analysis.CurveLinear, 0, 0.5, 10, 1, 0, 11, 1, "to 11 of 10"},
		{analysis.CurveLinear, 0, 1, 10, 1, 0, 10, 1, "outside [0, 1)"},
		{analysis.CurveLinear, 0, 0.5, 1 << 40, 1, 0, 1 << 40, 1, "updates, limit"},
	} {
		if _, err := analysis.Gradual(tc.curve, tc.from, tc.to, tc.steps, tc.batch, tc.start, tc.end, tc.each); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// RigL's updates cost the weight gradient of the pruned places once each.
func TestRigLDenseGradients(t *testing.T) {
	s := analysis.ShapeOf(tiny)
	half := analysis.UniformKept(sparsity(t, "0.5"))
	plan := func(denseGradients int64) *analysis.PlanCost {
		p, err := analysis.PlanFLOPs(s, analysis.SPDF, []analysis.Phase{{Name: "rigl", SeqLen: 4, Stretches: analysis.Static(100, 0.5, half), DenseGradients: denseGradients}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// 112 of 224 weights are pruned; 2 FLOPs, 4 tokens, 7 sequences.
	if got, want := float(plan(7).FLOPsTotal)-float(plan(0).FLOPsTotal), 112.0*2*4*7; got != want {
		t.Errorf("7 sequences with dense gradients add %g FLOPs, want %g", got, want)
	}
	for _, tc := range []struct {
		phases []analysis.Phase
		want   string
	}{
		{nil, "a plan without phases"},
		{[]analysis.Phase{{Name: "x", SeqLen: 4}}, `phase "x": no sequences`},
		{[]analysis.Phase{{Name: "x", SeqLen: 9, Stretches: analysis.Static(1, 0, nil)}}, "sequence of 9 tokens"},
		{[]analysis.Phase{{Name: "x", SeqLen: 4, Stretches: analysis.Static(0, 0, nil)}}, "a stretch of 0 sequences"},
		{[]analysis.Phase{{Name: "x", SeqLen: 4, Stretches: analysis.Static(5, 0, nil), DenseGradients: 6}}, "6 sequences with dense gradients of 5"},
	} {
		if _, err := analysis.PlanFLOPs(s, analysis.SPDF, tc.phases); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v", tc.want, err)
		}
	}
}

// What of the paper's print the ledger contradicts, by cell.
func TestPaperTables(t *testing.T) {
	cells, err := analysis.PaperTables()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	var wrong []string
	for _, c := range cells {
		counts[c.Table+" "+c.Verdict]++
		if c.Verdict == analysis.VerdictMisprint && c.Printed != c.Ours {
			wrong = append(wrong, c.Model+" "+c.Column+" "+c.Printed+" "+c.Ours)
		}
		if (c.Verdict == analysis.VerdictEqual) != (c.Note == "") {
			t.Errorf("%+v: verdict and note do not belong together", c)
		}
	}
	for _, tc := range []struct {
		key  string
		want int
	}{
		{"supplement 2 equal", 15}, {"supplement 2 rounded", 3},
		{"supplement 3 equal", 15}, {"supplement 3 misprint", 9},
		{"main 2 equal", 30}, {"main 2 rounded", 11}, {"main 2 misprint", 7},
	} {
		if counts[tc.key] != tc.want {
			t.Errorf("%s: %d cells, want %d", tc.key, counts[tc.key], tc.want)
		}
	}
	want := []string{
		"GPT-3 XL E2E/exa 0.524 0.527",
		"GPT-2 Small WebNLG 2.48 2.45", "GPT-2 Small DART 2.45 2.48",
		"GPT-3 XL WebNLG 236.62 236.32", "GPT-3 XL DART 236.33 236.61", "GPT-3 XL Curation 236.32 236.23",
		"GPT-3 XL DART 142.01 142.39", "GPT-3 XL Curation 142.40 142.01",
	}
	if strings.Join(wrong, "\n") != strings.Join(want, "\n") {
		t.Errorf("misprints:\n%s\nwant:\n%s", strings.Join(wrong, "\n"), strings.Join(want, "\n"))
	}
}
