package kernels_test

import (
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// TestMisusePanics demands a constant text from every exported function that
// is given too little memory, whatever the set.
func TestMisusePanics(t *testing.T) {
	x := make([]float32, 24)
	one := make([]float32, 1)
	sparse := kernels.NewSparse(4, 6, []byte{0x3f, 0x3f, 0x3f, 0x3f})
	ids := []int32{0, 1, 2, 3}
	for _, c := range []struct {
		name string
		call func()
	}{
		{"GemmNN a", func() { kernels.GemmNN(x, 4, one, 4, x, 4, 4, 4, 4, false) }},
		{"GemmNN b", func() { kernels.GemmNN(x, 4, x, 4, one, 4, 4, 4, 4, false) }},
		{"GemmNN dst", func() { kernels.GemmNN(one, 4, x, 4, x, 4, 4, 4, 4, false) }},
		{"GemmNT stride", func() { kernels.GemmNT(x, 3, x, 4, x, 4, 4, 4, 4, false) }},
		{"GemmTN negative", func() { kernels.GemmTN(x, 4, x, 4, x, 4, -1, 4, 4, false) }},
		{"Epilogue bias", func() { kernels.F32.GemmNNThen(x, 4, x, 4, x, 4, 4, 4, 4, kernels.Epilogue{Bias: one}) }},
		{"Epilogue GELU", func() { kernels.F32.GemmNTThen(x, 4, x, 4, x, 4, 4, 4, 4, kernels.Epilogue{GELU: one}) }},
		{"AddBias", func() { kernels.AddBias(x, 6, one, 4, 6) }},
		{"BiasBackward", func() { kernels.BiasBackward(one, x, 6, 4, 6) }},
		{"Epilogue panels", func() {
			sparse.ForwardThen(make([]float32, 64), kernels.InPanels, x, 6, x, 4, kernels.Epilogue{GELU: x})
		}},
		{"BiasBackwardPanels", func() { kernels.BiasBackwardPanels(x, x, 4, 6) }},
		{"PackPanels", func() { kernels.PackPanels(x, x, 6, 4, 6) }},
		{"Sparse.Forward panels", func() { sparse.Forward(x, kernels.InPanels, x, 6, x, 4) }},
		{"NewSparse size", func() { kernels.NewSparse(1, 65537, make([]byte, 8193)) }},
		{"NewSparse bits", func() { kernels.NewSparse(4, 6, []byte{1}) }},
		{"Sparse.Forward x", func() { sparse.Forward(x, 4, one, 6, x, 4) }},
		{"Sparse.Forward w", func() { sparse.Forward(x, 4, x, 6, one, 4) }},
		{"Sparse.BackwardInput", func() { sparse.BackwardInput(one, 6, x, 4, x, 4, false) }},
		{"Sparse.BackwardWeight", func() { sparse.BackwardWeight(one, x, 4, x, 6, 4) }},
		{"Sparse.Backward", func() { sparse.Backward(x, 6, one, x, 4, x, 6, x, 4, false) }},
		{"Sparse.Transpose", func() { sparse.Transpose(one, x) }},
		{"Sparse.RowMajor", func() { sparse.RowMajor(one, x) }},
		{"Sparse.FromRowMajor", func() { sparse.FromRowMajor(x, one) }},
		{"Sparse.Gather", func() { sparse.Gather(x, one, 6, 1) }},
		{"Sparse.Scatter", func() { sparse.Scatter(one, x, 6, 1) }},
		{"LayerNormForward", func() { kernels.LayerNormForward(x, x, x, one, x, x, 4, 6, 1e-5) }},
		{"LayerNormBackward", func() { kernels.LayerNormBackward(x, one, x, x, x, x, x, x, 4, 6) }},
		{"GELUForward", func() { kernels.GELUForward(one, x) }},
		{"GELUBackward", func() { kernels.GELUBackward(x, one, x) }},
		{"Add", func() { kernels.Add(x, one, x) }},
		{"EmbeddingForward id", func() { kernels.EmbeddingForward(x, ids, x[:18], x, 4, 6) }},
		{"EmbeddingBackward id", func() { kernels.EmbeddingBackward(x[:18], x, x, ids, 4, 6) }},
		{"EmbeddingForward t", func() { kernels.EmbeddingForward(x, ids, x, x, 0, 6) }},
		{"AttentionForward", func() { kernels.AttentionForward(x, x, x, 1, 4, 1, 6) }},
		{"AttentionBackward", func() { kernels.AttentionBackward(x, x, x, x, x, 1, 4, 1, 6) }},
		{"AttentionSlots", func() { kernels.AttentionSlots(x, x, one, one, []int32{1}, 1, 1) }},
		{"LogSumExp", func() { kernels.LogSumExp(nil) }},
		{"AttentionDecode", func() { kernels.AttentionDecode(x, x, x, one, 4, 1, 6) }},
		{"SoftmaxCrossEntropy", func() { kernels.SoftmaxCrossEntropy(one, x, ids, 4, 6, 1) }},
		{"CrossEntropy target", func() { kernels.CrossEntropy(x, x, []int32{6}, 1, 6) }},
		{"AdamW", func() { kernels.AdamW(x, one, x, x, kernels.AdamWParams{C1: 1, C2: 1}) }},
		{"SetThreads", func() { kernels.SetThreads(-1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				text, ok := recover().(string)
				if !ok || !strings.HasPrefix(text, "kernels: ") {
					t.Errorf("recovered %v, want a text that starts with \"kernels: \"", text)
				}
			}()
			c.call()
			t.Error("no panic")
		})
	}
}

func TestUseRefusesUnknownSet(t *testing.T) {
	err := kernels.Use("mmx")
	if err == nil || !strings.Contains(err.Error(), `"go"`) {
		t.Errorf("Use(mmx) = %v, want an error that lists the sets", err)
	}
}

// TestZeroSizes calls everything with nothing to do.
func TestZeroSizes(t *testing.T) {
	kernels.GemmNN(nil, 5, nil, 5, make([]float32, 25), 5, 0, 5, 5, false)
	kernels.GemmNT(nil, 0, nil, 0, nil, 0, 0, 0, 0, true)
	kernels.AddBias(nil, 3, make([]float32, 3), 0, 3)
	kernels.BiasBackward(make([]float32, 3), nil, 3, 0, 3)
	kernels.BiasBackwardPanels(make([]float32, 3), nil, 0, 3)
	kernels.PackPanels(nil, nil, 3, 0, 3)
	kernels.LayerNormForward(nil, nil, nil, nil, nil, nil, 0, 0, 1e-5)
	kernels.LayerNormBackward(nil, nil, nil, nil, nil, nil, nil, nil, 0, 0)
	kernels.GELUForward(nil, nil)
	kernels.GELUBackward(nil, nil, nil)
	kernels.Add(nil, nil, nil)
	kernels.Scale(nil, 2)
	kernels.EmbeddingForward(nil, nil, nil, nil, 1, 0)
	kernels.EmbeddingBackward(nil, nil, nil, nil, 1, 0)
	kernels.AttentionForward(nil, nil, nil, 0, 0, 0, 0)
	kernels.AttentionBackward(nil, nil, nil, nil, nil, 0, 0, 0, 0)
	kernels.SoftmaxCrossEntropy(nil, nil, nil, 0, 0, 1)
	kernels.AdamW(nil, nil, nil, nil, kernels.AdamWParams{C1: 1, C2: 1})
	if got := kernels.SumSquares(nil); got != 0 {
		t.Errorf("SumSquares(nil) = %g, want 0", got)
	}
	dst := []float32{7, 7}
	kernels.GemmNN(dst, 2, nil, 0, nil, 2, 1, 2, 0, false) // an empty sum is 0
	if dst[0] != 0 || dst[1] != 0 {
		t.Errorf("GemmNN with k = 0 left %v, want zeros", dst)
	}
}
