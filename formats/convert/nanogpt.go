package convert

import (
	"errors"

	"github.com/spdfctl/spdfctl/formats/torch"
)

// nanoGPTFields returns what nanoGPT's sample.py and train.py look for beside
// the weights. Training resumes at step 0 with moments that are zero.
func (p *Plan) nanoGPTFields() ([]torch.Field, error) {
	heads := p.Source.Config.NHead
	if heads == 0 {
		return nil, errors.New("convert: a nanoGPT checkpoint needs the number of heads; a config.json beside the weights or --heads gives it")
	}
	number := func(n int) int64 { return int64(n) }
	args := []torch.Field{
		{Key: "n_layer", Value: number(p.target.L)}, {Key: "n_head", Value: number(heads)}, {Key: "n_embd", Value: number(p.target.C)},
		{Key: "block_size", Value: number(p.target.T)}, {Key: "bias", Value: !p.model.noBiases}, {Key: "vocab_size", Value: number(p.vocab)},
		{Key: "dropout", Value: 0.0},
	}
	return []torch.Field{
		{Key: "model_args", Value: args}, {Key: "optimizer", Value: p.freshAdamW()},
		{Key: "iter_num", Value: int64(0)}, {Key: "best_val_loss", Value: 1e9}, {Key: "config", Value: []torch.Field{}},
	}, nil
}

// freshAdamW returns the state of the optimizer that nanoGPT's
// configure_optimizers makes, before its first step: two groups of parameters,
// matrices, whose weights decay, and vectors. The numbers are its defaults;
// train.py sets the learning rate at every step.
func (p *Plan) freshAdamW() []torch.Field {
	group := func(decay float64, first, n int) []torch.Field {
		params := make([]any, n)
		for i := range params {
			params[i] = int64(first + i)
		}
		return []torch.Field{
			{Key: "lr", Value: 6e-4}, {Key: "betas", Value: []any{0.9, 0.95}}, {Key: "eps", Value: 1e-8},
			{Key: "weight_decay", Value: decay}, {Key: "amsgrad", Value: false}, {Key: "params", Value: params},
		}
	}
	matrices := 0
	for _, o := range p.Outputs {
		if len(o.Shape) > 1 {
			matrices++
		}
	}
	return []torch.Field{
		{Key: "state", Value: []torch.Field{}},
		{Key: "param_groups", Value: []any{group(0.1, 0, matrices), group(0, matrices, len(p.Outputs)-matrices)}},
	}
}
