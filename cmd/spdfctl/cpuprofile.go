package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime/pprof"
	"slices"
	"strings"
)

// kernelTime is the share of the CPU time that was spent in one function.
type kernelTime struct {
	Kernel  string  `json:"kernel"`
	Seconds float64 `json:"cpu_seconds"`
	Percent float64 `json:"percent"`
}

// profileKernels samples the CPU while f runs and returns the time by
// function, all threads together, the longest first. A function of the Go
// runtime that was called for another, such as a copy, counts by itself.
func profileKernels(f func() error) ([]kernelTime, error) {
	var buf bytes.Buffer
	if err := pprof.StartCPUProfile(&buf); err != nil {
		return nil, err
	}
	err := f()
	pprof.StopCPUProfile()
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(&buf)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	spent, err := leafTimes(data)
	if err != nil {
		return nil, err
	}
	total := 0.0
	var list []kernelTime
	for name, nanoseconds := range spent {
		total += float64(nanoseconds)
		list = append(list, kernelTime{Kernel: kernelName(name), Seconds: float64(nanoseconds) / 1e9})
	}
	for i := range list {
		list[i].Percent = 100e9 * list[i].Seconds / total
	}
	slices.SortFunc(list, func(a, b kernelTime) int {
		if a.Seconds != b.Seconds {
			return int(b.Seconds*1e9) - int(a.Seconds*1e9)
		}
		return strings.Compare(a.Kernel, b.Kernel)
	})
	return list, nil
}

// kernelName shortens the full name of a function to package and function, and
// for package kernels to the function.
func kernelName(name string) string {
	return strings.TrimPrefix(path.Base(name), "kernels.")
}

var errProfile = errors.New("profile: not in the format of pprof")

// leafTimes returns the nanoseconds of every innermost function of a CPU
// profile, a protocol buffer of pprof's profile.proto: of its messages samples
// (2), locations (4), functions (5) and strings (6) are read.
func leafTimes(data []byte) (map[string]int64, error) {
	type sample struct {
		location uint64
		value    int64
	}
	var (
		samples   []sample
		functions = map[uint64]uint64{} // of a location, the innermost
		names     = map[uint64]uint64{} // of a function, in strings
		texts     []string
	)
	err := eachField(data, func(field int, _ uint64, body []byte) error {
		switch field {
		case 2:
			var s sample
			var locations, values []uint64
			err := eachField(body, func(field int, v uint64, body []byte) error {
				switch field {
				case 1:
					return unpack(&locations, v, body)
				case 2:
					return unpack(&values, v, body)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if len(locations) > 0 && len(values) > 0 {
				s.location, s.value = locations[0], int64(values[len(values)-1])
				samples = append(samples, s)
			}
			return nil
		case 4:
			var id, function uint64
			err := eachField(body, func(field int, v uint64, body []byte) error {
				switch {
				case field == 1:
					id = v
				case field == 4 && function == 0: // later ones are its inlined callers
					return eachField(body, func(field int, v uint64, _ []byte) error {
						if field == 1 {
							function = v
						}
						return nil
					})
				}
				return nil
			})
			functions[id] = function
			return err
		case 5:
			var id, name uint64
			err := eachField(body, func(field int, v uint64, _ []byte) error {
				switch field {
				case 1:
					id = v
				case 2:
					name = v
				}
				return nil
			})
			names[id] = name
			return err
		case 6:
			texts = append(texts, string(body))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	spent := map[string]int64{}
	for _, s := range samples {
		name := names[functions[s.location]]
		if name >= uint64(len(texts)) {
			return nil, errProfile
		}
		spent[texts[name]] += s.value
	}
	return spent, nil
}

// eachField calls f for every field of a message: with its number, and the
// value of an integer or the bytes of anything longer.
func eachField(data []byte, f func(field int, v uint64, body []byte) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errProfile
		}
		data = data[n:]
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return errProfile
		}
		data = data[n:]
		var body []byte
		switch tag & 7 {
		case 0:
		case 2:
			if v > uint64(len(data)) {
				return errProfile
			}
			body, data = data[:v], data[v:]
		default:
			return errProfile
		}
		if err := f(int(tag>>3), v, body); err != nil {
			return err
		}
	}
	return nil
}

// unpack appends a repeated integer, which stands alone or packed.
func unpack(dst *[]uint64, v uint64, body []byte) error {
	if body == nil {
		*dst = append(*dst, v)
		return nil
	}
	for len(body) > 0 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			return errProfile
		}
		*dst = append(*dst, v)
		body = body[n:]
	}
	return nil
}
