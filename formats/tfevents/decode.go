package tfevents

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// field is one field of a message: a number, or the bytes of a nested one.
type field struct {
	number, wire int
	scalar       uint64
	data         []byte
}

// eachField calls f with the fields of a message in their order.
func eachField(b []byte, f func(field) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errors.New("broken field tag")
		}
		b = b[n:]
		x := field{number: int(tag >> 3), wire: int(tag & 7)}
		switch x.wire {
		case wireVarint:
			if x.scalar, n = binary.Uvarint(b); n <= 0 {
				return fmt.Errorf("field %d: broken varint", x.number)
			}
		case wireFixed64:
			if n = 8; len(b) < n {
				return fmt.Errorf("field %d: %d bytes left, 8 needed", x.number, len(b))
			}
			x.scalar = binary.LittleEndian.Uint64(b)
		case wireFixed32:
			if n = 4; len(b) < n {
				return fmt.Errorf("field %d: %d bytes left, 4 needed", x.number, len(b))
			}
			x.scalar = uint64(binary.LittleEndian.Uint32(b))
		case wireBytes:
			size, k := binary.Uvarint(b)
			if k <= 0 || size > uint64(len(b)-k) {
				return fmt.Errorf("field %d: %d bytes promised, %d left", x.number, size, len(b)-max(k, 0))
			}
			x.data, n = b[k:k+int(size)], k+int(size)
		default:
			return fmt.Errorf("field %d: wire type %d", x.number, x.wire)
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// unmarshal reads a tensorflow.Event.
func unmarshal(b []byte) (Event, error) {
	var e Event
	err := eachField(b, func(x field) error {
		switch {
		case x.number == 1 && x.wire == wireFixed64:
			e.WallTime = math.Float64frombits(x.scalar)
		case x.number == 2 && x.wire == wireVarint:
			e.Step = int64(x.scalar)
		case x.number == 3 && x.wire == wireBytes:
			if !utf8.Valid(x.data) {
				return errors.New("file version is not UTF-8")
			}
			e.Version = string(x.data)
		case x.number == 5 && x.wire == wireBytes:
			return eachField(x.data, func(x field) error {
				if x.number != 1 || x.wire != wireBytes {
					return nil
				}
				if len(e.Values) == maxValues {
					return fmt.Errorf("over %d values, the limit", maxValues)
				}
				v, err := unmarshalValue(x.data)
				e.Values = append(e.Values, v)
				return err
			})
		case x.number == 7 && x.wire == wireBytes:
			return eachField(x.data, func(x field) error {
				if x.number == 1 && x.wire == wireVarint {
					e.Start = x.scalar == sessionStart
				}
				return nil
			})
		}
		return nil
	})
	return e, err
}

func unmarshalValue(b []byte) (Value, error) {
	var v Value
	err := eachField(b, func(x field) error {
		switch {
		case x.number == 1 && x.wire == wireBytes:
			if !utf8.Valid(x.data) {
				return errors.New("tag is not UTF-8")
			}
			v.Tag = string(x.data)
		case x.number == 2 && x.wire == wireFixed32:
			// The two share a oneof: the last one counts.
			v.Scalar, v.Histogram = math.Float32frombits(uint32(x.scalar)), nil
		case x.number == 5 && x.wire == wireBytes:
			h, err := unmarshalHistogram(x.data)
			v.Scalar, v.Histogram = 0, h
			return err
		}
		return nil
	})
	return v, err
}

func unmarshalHistogram(b []byte) (*Histogram, error) {
	h := new(Histogram)
	scalars := []*float64{&h.Min, &h.Max, &h.Num, &h.Sum, &h.SumSquares}
	lists := []*[]float64{&h.Limits, &h.Buckets}
	err := eachField(b, func(x field) error {
		switch {
		case x.number <= len(scalars) && x.wire == wireFixed64:
			*scalars[x.number-1] = math.Float64frombits(x.scalar)
		case (x.number == 6 || x.number == 7) && x.wire == wireBytes:
			list := lists[x.number-6]
			if len(x.data)%8 != 0 || len(*list)+len(x.data)/8 > maxBuckets {
				return fmt.Errorf("field %d: %d bytes of buckets after %d, limit %d", x.number, len(x.data), len(*list), maxBuckets)
			}
			for d := x.data; len(d) > 0; d = d[8:] {
				*list = append(*list, math.Float64frombits(binary.LittleEndian.Uint64(d)))
			}
		}
		return nil
	})
	if err == nil && len(h.Limits) != len(h.Buckets) {
		err = fmt.Errorf("%d bucket limits, %d buckets", len(h.Limits), len(h.Buckets))
	}
	return h, err
}
