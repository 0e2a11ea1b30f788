// Package masks says which weights of a model exist.
//
// A Mask belongs to one weight matrix of the mathematics, always in (out, in)
// order, whatever a checkpoint stores: GPT-2's fused c_attn is three matrices,
// the parts "q", "k" and "v" of one name. A Set is the masks of a model with
// the Recipe that made them.
//
// Choosing weights has two halves that know nothing of each other. Allocation
// (Uniform, UniformCstorch) says how many weights each Target keeps; selection
// (RandomMask) says which. Random joins the two for the static random uniform
// mask of the SPDF paper.
//
// Masks that move: a Schedule gives the sparsity or the drop fraction of a step,
// Updates the steps, and MagnitudeUpdate (gradual pruning), SETUpdate and
// RigLUpdate the next mask. Carry takes weights and moments along; what grows is
// +0.
//
// Counts are exact: a Sparsity is the rational number that the user typed, and
// no count passes through a float.
//
// Source: Thangarasa et al., "SPDF: Sparse Pre-training and Dense Fine-tuning
// for Large Language Models", UAI 2023, section 2.2.
package masks
