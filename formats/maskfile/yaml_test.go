package maskfile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
)

// The blocks are those of Model Zoo 2.10, params_gpt3_125m_{static,rigl,set}75.yaml,
// and forms that its documentation gives.
func TestParseCerebras(t *testing.T) {
	filter := []string{"*proj_[qkv]_dense_layer.weight", "*linear_layer.weight"}
	const rigl = `trainer:
  init:
    model:
      hidden_size: 768
    sparsity:
      sparsity: 0.75
      init_method: random
      algorithm: rigl
      drop_fraction:
        type: cosine    # anneal drop fraction with cosine schedule
        init: 0.3
        half_period: 3584
      update:
        freq: 100
        stop: 3584
      param_filter:
      - '*proj_[qkv]_dense_layer.weight'
      - '*linear_layer.weight'
    loop: {max_steps: 4778}
`
	moves := masks.Dynamics{
		Algorithm: "rigl", Method: "random", Filter: filter, Sparsity: masks.Fixed(0.75), Text: "0.75",
		Drop:    masks.Schedule{Kind: masks.Cosine, Init: 0.3, End: 3584, Repeat: true},
		Updates: masks.Updates{Every: 100, End: 3584},
	}
	set := moves
	set.Algorithm = "set"
	plain := masks.Dynamics{Algorithm: "static", Method: "random", Sparsity: masks.Fixed(0.75), Text: "0.75", Updates: masks.Updates{Every: 1}, Drop: masks.Fixed(0.3)}
	filtered := plain
	filtered.Filter = filter[1:]
	top := plain
	top.Method = "magnitude"
	gmp := masks.Dynamics{
		Algorithm: "gmp", Method: "magnitude", Sparsity: masks.Schedule{Kind: masks.Exponential, Final: 0.9, Rate: -0.001}, Drop: masks.Fixed(0.3),
		Updates: masks.Updates{Every: 1000},
	}
	cyclic := gmp
	cyclic.Sparsity = masks.Schedule{Kind: masks.Cyclic, Values: []float64{0.3, 0.5}, Every: 1000}
	linear := gmp
	linear.Sparsity = masks.Schedule{Kind: masks.Linear, Rate: 0.0001}
	linear.Updates = masks.Updates{Steps: []int{100, 900}}
	for _, c := range []struct {
		text string
		want []masks.Dynamics
	}{
		{rigl, []masks.Dynamics{moves}},
		{strings.Replace(rigl, "algorithm: rigl", "algorithm: SET", 1), []masks.Dynamics{set}},
		{"0.75", []masks.Dynamics{plain}},
		{"sparsity: 0.75", []masks.Dynamics{plain}},
		{"sparsity:\n  sparsity: 0.75\n  type: static\n  param_name_patterns: '*linear_layer.weight'\n", []masks.Dynamics{filtered}},
		{"sparsity:\n- {sparsity: 0.75, param_filter: '*linear_layer.weight'}\n- {sparsity: 0.75, init_method: topk}\n", []masks.Dynamics{filtered, top}},
		{"sparsity: {groups: [{algorithm: static, params: {sparsity: 0.75, init_method: topk}}]}", []masks.Dynamics{top}},
		{"{algorithm: gmp, init_method: topk, update: {freq: 1000}, schedule: {type: exp, init: 0, gamma: -0.001, final: 0.9}}", []masks.Dynamics{gmp}},
		{"{algorithm: gmp, init_method: topk, update: {freq: 1000}, sparsity: [0.3, 0.5]}", []masks.Dynamics{cyclic}},
		{"{algorithm: gmp, init_method: topk, update: {freq: 1000}, sparsity: {type: cycling, values: [0.3, 0.5]}}", []masks.Dynamics{cyclic}},
		{"{algorithm: gmp, init_method: topk, update: {steps: [100, 900]}, sparsity: {type: linear, init: 0, slope: 1.0e-4}}", []masks.Dynamics{linear}},
	} {
		got, err := maskfile.ParseCerebras([]byte(c.text))
		if err != nil {
			t.Errorf("%s\n%v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s\n%s", c.text, diff)
		}
	}
	for _, text := range []string{
		"", "[]", "sparsity: 75", "sparsity: high", "{algorithm: rigl}", "{sparsity: 0.5, schedule: 0.5}", "{sparsity: 0.5, algorithm: magic}",
		"{sparsity: 0.5, balance_in_groups: 4}", "{sparsity: 0.5, init_method: ones}", "{sparsity: {type: lambda}}", "{sparsity: {type: cosine, init: 0.5}}",
		"{algorithm: static, sparsity: [0.5, 0.6]}", "{algorithm: set, sparsity: 0.5, update: {freq: 10, stop: 10, start: 20}}",
		"{algorithm: set, sparsity: 0.5, update: {freq: 0}}", "{algorithm: set, sparsity: 0.5, update: {}}", "[[[0.5]]]", "{sparsity: 0.5, sparsity: 0.6}",
		"{sparsity: 0.5, param_filter: []}", "{sparsity: 0.5, param_filter: {a: b}}", "{sparsity: 0.5, params: {sparsity: 0.5}}", "sparsity: [",
	} {
		if _, err := maskfile.ParseCerebras([]byte(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestParseGroups(t *testing.T) {
	groups, err := maskfile.ParseGroups([]byte("groups:\n- match: 'h.*.mlp.*'\n  sparsity: 0.10\n- {match: h.0.*, dense: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 2 || groups[0].Match != "h.*.mlp.*" || groups[0].Sparsity.String() != "0.10" || !groups[1].Dense {
		t.Errorf("%+v", groups)
	}
	for _, text := range []string{
		"", "groups: []", "groups: [{match: a}]", "groups: [{sparsity: 0.5}]", "groups: [{match: a, sparsity: 75}]", "groups: [{match: a, sparsity: 0.5, dense: true}]",
		"groups: [{match: '[', dense: true}]", "groups: [{match: a, density: 0.5}]", "group: 1", "groups: [{match: a, sparsity: [0.5]}]",
	} {
		if _, err := maskfile.ParseGroups([]byte(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func FuzzParseCerebras(f *testing.F) {
	for _, text := range []string{"0.75", "sparsity: 0.5", "sparsity: [{sparsity: 0.5}, 0.25]", "{algorithm: gmp, sparsity: {type: exp, init: 0, gamma: -1}}", "&a [*a]"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := maskfile.ParseCerebras(text)
		if err != nil {
			return
		}
		for _, d := range list {
			if err := d.Check(); err != nil {
				t.Error(err)
			}
			if v := d.Sparsity.At(1000); !(v >= 0 && v <= 1) {
				t.Errorf("sparsity %g", v)
			}
		}
	})
}
