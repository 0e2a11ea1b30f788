package formats

// DType is the element type of a stored tensor, spelt as safetensors spells it.
// A value outside DTypes has no size: Bits reports 0.
type DType string

// The element types, in order of increasing alignment (see DTypes). C64 is a
// pair of F32, the real part first. BOOL takes a whole byte. F4 is E2M1; F4
// and both F6 are packed without padding between elements.
const (
	BOOL       DType = "BOOL"
	F4         DType = "F4"
	F6E2M3     DType = "F6_E2M3"
	F6E3M2     DType = "F6_E3M2"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3"
	F8E8M0     DType = "F8_E8M0"
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64"
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

var dtypes = [...]struct {
	d    DType
	bits int
}{
	{BOOL, 8}, {F4, 4}, {F6E2M3, 6}, {F6E3M2, 6}, {U8, 8}, {I8, 8},
	{F8E5M2, 8}, {F8E4M3, 8}, {F8E8M0, 8}, {F8E4M3FNUZ, 8}, {F8E5M2FNUZ, 8},
	{I16, 16}, {U16, 16}, {F16, 16}, {BF16, 16}, {I32, 32}, {U32, 32}, {F32, 32},
	{C64, 64}, {F64, 64}, {I64, 64}, {U64, 64},
}

// DTypes returns the 22 element types in the order in which the safetensors
// reference declares them, by increasing alignment. Writers lay tensors out in
// the reverse of this order.
//
// Source: huggingface/safetensors, safetensors/src/tensor.rs, enum Dtype (2026-05).
func DTypes() []DType {
	list := make([]DType, len(dtypes))
	for i, t := range dtypes {
		list[i] = t.d
	}
	return list
}

// Bits returns the size of one element in bits, or 0 if d is not in DTypes.
func (d DType) Bits() int {
	for _, t := range dtypes {
		if t.d == d {
			return t.bits
		}
	}
	return 0
}
