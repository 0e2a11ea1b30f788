package tfevents

import (
	"encoding/binary"
	"math"
)

// Wire types of protocol buffers.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// sessionStart is SessionLog.START.
const sessionStart = 1

func appendTag(b []byte, field, wire int) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(wire))
}

func appendDouble(b []byte, field int, x float64) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(b, field, wireFixed64), math.Float64bits(x))
}

func appendBytes(b []byte, field int, data []byte) []byte {
	b = binary.AppendUvarint(appendTag(b, field, wireBytes), uint64(len(data)))
	return append(b, data...)
}

func appendDoubles(b []byte, field int, list []float64) []byte {
	b = binary.AppendUvarint(appendTag(b, field, wireBytes), uint64(8*len(list)))
	for _, x := range list {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return b
}

// marshal returns e as a tensorflow.Event.
func (e Event) marshal() []byte {
	b := appendDouble(nil, 1, e.WallTime)
	b = binary.AppendUvarint(appendTag(b, 2, wireVarint), uint64(e.Step))
	if e.Version != "" {
		b = appendBytes(b, 3, []byte(e.Version))
	}
	if len(e.Values) > 0 {
		var summary []byte
		for _, v := range e.Values {
			summary = appendBytes(summary, 1, v.marshal())
		}
		b = appendBytes(b, 5, summary)
	}
	if e.Start {
		b = appendBytes(b, 7, binary.AppendUvarint(appendTag(nil, 1, wireVarint), sessionStart))
	}
	return b
}

func (v Value) marshal() []byte {
	b := appendBytes(nil, 1, []byte(v.Tag))
	h := v.Histogram
	if h == nil {
		return binary.LittleEndian.AppendUint32(appendTag(b, 2, wireFixed32), math.Float32bits(v.Scalar))
	}
	var histo []byte
	for i, x := range []float64{h.Min, h.Max, h.Num, h.Sum, h.SumSquares} {
		histo = appendDouble(histo, i+1, x)
	}
	histo = appendDoubles(histo, 6, h.Limits)
	histo = appendDoubles(histo, 7, h.Buckets)
	return appendBytes(b, 5, histo)
}
