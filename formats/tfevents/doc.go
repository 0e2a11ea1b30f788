// Package tfevents writes and reads the event files that TensorBoard shows:
// scalars and histograms over steps.
//
// A file is a sequence of TFRecords, little-endian:
//
//	uint64  length n of the data
//	uint32  masked CRC-32C of the 8 bytes of the length
//	n bytes data, a tensorflow.Event in protocol buffer encoding
//	uint32  masked CRC-32C of the data
//
// with mask(c) = (c>>15 | c<<17) + 0xa282ead8 modulo 2³². The first event names
// the file version, "brain.Event:2". Of an Event these fields are written and
// read:
//
//	1 wall_time double       5 summary Summary
//	2 step int64             7 session_log SessionLog
//	3 file_version string
//
// of a Summary its values (1), of a value tag (1), simple_value (2, float) and
// histo (5), of a histogram min, max, num, sum, sum_squares (1 to 5, double)
// and the packed lists bucket_limit and bucket (6, 7), of a session log its
// status (1). Other fields are skipped when reading.
//
// Limits: a record has at most 16 MiB, an event at most 65,536 values, a
// histogram at most 65,536 buckets; tags are UTF-8.
//
// Source: tensorflow/core/lib/io/record_writer.cc, core/util/event.proto and
// core/framework/summary.proto.
package tfevents

import "errors"

// Version is the file version that the first event of a file has.
const Version = "brain.Event:2"

// FilePrefix is how the name of an event file begins.
const FilePrefix = "events.out.tfevents."

const (
	maxRecord  = 16 << 20
	maxValues  = 1 << 16
	maxBuckets = 1 << 16
)

// ErrChecksum marks a record whose bytes are not those that were written.
var ErrChecksum = errors.New("wrong checksum")

// Event is what happened at one step.
type Event struct {
	WallTime float64 // seconds since 1970
	Step     int64
	Version  string // of the first event: Version; otherwise empty
	// Start says that a run starts or goes on at Step: TensorBoard then leaves
	// out what earlier files hold of this step and later ones.
	Start  bool
	Values []Value
}

// Value is one number or one histogram under a tag such as "train/loss".
type Value struct {
	Tag       string
	Scalar    float32
	Histogram *Histogram // if not nil, instead of Scalar
}

// Histogram counts numbers in buckets: Buckets[i] of them are in
// (Limits[i-1], Limits[i]], those at Min in the first bucket.
type Histogram struct {
	Min, Max, Num, Sum, SumSquares float64
	Limits, Buckets                []float64
}
