//go:build conformance

package masks_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/masks"
)

// densityTolerance is for sums of float64 in the reference.
const densityTolerance = 1e-12

// ERK of ResNet-50, against densities that were computed from the published
// algorithm, and against the FLOPs ratios that RigL's README prints.
func TestErdosResNet50(t *testing.T) {
	dir := filepath.Join(os.Getenv("SPDF_DATA"), "sparsity-tables")
	read := func(name string, v any) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatal(err)
		}
	}
	var net struct {
		Layers []struct {
			Name  string
			Shape []int `json:"shape_hwio"`
			MACs  float64
		}
	}
	read("resnet50_layers.json", &net)
	var tables map[string]struct {
		Density map[string]float64
		Ratio   float64 `json:"flops_ratio"`
	}
	read("erk_resnet50_0.9.json", &tables)
	var shapes [][]int
	for _, l := range net.Layers {
		shapes = append(shapes, l.Shape)
	}
	ratio := func(s string) (float64, []float64) {
		got, err := masks.ErdosRenyi(shapes, sparsity(t, s))
		if err != nil {
			t.Fatal(err)
		}
		executed, all := 0.0, 0.0
		for i, l := range net.Layers {
			executed, all = executed+got[i]*l.MACs, all+l.MACs
		}
		return executed / all, got
	}
	table := tables["0.9"]
	flops, got := ratio("0.9")
	if len(table.Density) != len(net.Layers) {
		t.Fatalf("%d densities of %d layers", len(table.Density), len(net.Layers))
	}
	for i, l := range net.Layers {
		if want := table.Density[l.Name]; math.Abs(got[i]-want) > densityTolerance {
			t.Errorf("%s: density %v, want %v", l.Name, got[i], want)
		}
	}
	if math.Abs(flops-table.Ratio) > densityTolerance {
		t.Errorf("FLOPs ratio %v, want %v", flops, table.Ratio)
	}
	// Printed with two decimals, of FLOPs that were counted a little differently:
	// the README has 0.42 where the table's own layers give 0.414.
	for s, want := range map[string]float64{"0.8": 0.42, "0.9": 0.24} {
		if flops, _ := ratio(s); math.Abs(flops-want) > 0.01 {
			t.Errorf("sparsity %s: FLOPs ratio %.4f, printed %.2f", s, flops, want)
		}
	}
}
