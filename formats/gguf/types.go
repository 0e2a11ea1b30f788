package gguf

import (
	"github.com/spdfctl/spdfctl/formats"
)

// block describes a tensor type: weights come in blocks of Elements, which take
// Bytes. Plain types have blocks of one.
type block struct {
	id       uint32
	name     formats.DType
	elements int
	bytes    int
}

// blocks lists the tensor types. Numbers that are missing were given up.
//
// Source: ggml/include/ggml.h, enum ggml_type, and ggml/src/ggml-common.h.
var blocks = []block{
	{0, formats.F32, 1, 4}, {1, formats.F16, 1, 2},
	{2, "Q4_0", 32, 18}, {3, "Q4_1", 32, 20}, {6, "Q5_0", 32, 22}, {7, "Q5_1", 32, 24}, {8, "Q8_0", 32, 34}, {9, "Q8_1", 32, 36},
	{10, "Q2_K", 256, 84}, {11, "Q3_K", 256, 110}, {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176}, {14, "Q6_K", 256, 210}, {15, "Q8_K", 256, 292},
	{16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74}, {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50}, {20, "IQ4_NL", 32, 18},
	{21, "IQ3_S", 256, 110}, {22, "IQ2_S", 256, 82}, {23, "IQ4_XS", 256, 136},
	{24, formats.I8, 1, 1}, {25, formats.I16, 1, 2}, {26, formats.I32, 1, 4}, {27, formats.I64, 1, 8}, {28, formats.F64, 1, 8},
	{29, "IQ1_M", 256, 56}, {30, formats.BF16, 1, 2}, {34, "TQ1_0", 256, 54}, {35, "TQ2_0", 256, 66}, {39, "MXFP4", 32, 17},
}

func blockByID(id uint32) (block, bool) {
	for _, b := range blocks {
		if b.id == id {
			return b, true
		}
	}
	return block{}, false
}

func blockByName(d formats.DType) (block, bool) {
	for _, b := range blocks {
		if b.name == d {
			return b, true
		}
	}
	return block{}, false
}

// BlockSize returns how many weights of a tensor type share a block, and the
// bytes that it takes: 1 and the size of an element for plain types. ok is false
// for what is no type of GGUF.
func BlockSize(d formats.DType) (elements, bytes int, ok bool) {
	b, ok := blockByName(d)
	return b.elements, b.bytes, ok
}

// ValueType is the type of a metadata value.
type ValueType uint32

// The types of metadata values, numbered as in the file.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueTypes = []struct {
	name string
	size int // 0: not fixed
}{
	{"uint8", 1}, {"int8", 1}, {"uint16", 2}, {"int16", 2}, {"uint32", 4}, {"int32", 4}, {"float32", 4}, {"bool", 1},
	{"string", 0}, {"array", 0}, {"uint64", 8}, {"int64", 8}, {"float64", 8},
}

// String returns the name of the type, as the specification has it.
func (t ValueType) String() string {
	if int(t) < len(valueTypes) {
		return valueTypes[t].name
	}
	return "unknown"
}

// ParseValueType returns the type of that name.
func ParseValueType(name string) (ValueType, bool) {
	for i, t := range valueTypes {
		if t.name == name {
			return ValueType(i), true
		}
	}
	return 0, false
}

// Entry is an item of the metadata. Value is an uint64, int64, float64, bool or
// string, by the kind of Type, or a List if Type is Array.
type Entry struct {
	Key   string
	Type  ValueType
	Value any
}

// List is an array of metadata: its items are values of Type.
type List struct {
	Type  ValueType
	Items []any
}
