package main

import (
	"bytes"
	"encoding/json"

	"github.com/spdfctl/spdfctl/eval/metrics"
)

// scoreResult is what "score --json" prints. Metrics has those that were computed.
type scoreResult struct {
	Profile    string             `json:"profile"`
	Signature  string             `json:"signature"`
	Metrics    map[string]float64 `json:"metrics"`
	NSegments  int                `json:"n_segments"`
	Signatures map[string]string  `json:"signatures"`
	Bootstrap  *bootstrapResult   `json:"bootstrap,omitempty"`
	Against    *againstResult     `json:"against,omitempty"`
}

type bootstrapResult struct {
	Samples   int                       `json:"samples"`
	Seed      uint64                    `json:"seed"`
	Intervals map[string]intervalResult `json:"intervals"`
}

type intervalResult struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

type againstResult struct {
	File    string                      `json:"file"`
	Metrics map[string]comparisonResult `json:"metrics"`
}

type comparisonResult struct {
	Score          float64        `json:"score"`
	Difference     float64        `json:"difference"`
	Interval       intervalResult `json:"interval"`
	PBootstrap     float64        `json:"p_bootstrap"`
	PRandomization float64        `json:"p_randomization"`
}

func newIntervalResult(i metrics.Interval) intervalResult {
	return intervalResult{i.Mean, i.Low, i.High}
}

func newScoreResult(r metrics.Result) scoreResult {
	out := scoreResult{Profile: r.Profile, Signature: r.Signature, Metrics: map[string]float64{}, NSegments: r.Segments, Signatures: map[string]string{}}
	for _, s := range r.Scores {
		out.Metrics[s.Name] = s.Value
		out.Signatures[s.Name] = s.Signature
	}
	return out
}

// segment is one line of the file that "score --segments" writes: the number of the
// segment, from 1, and its scores in the order of the profile.
type segment []segmentField

type segmentField struct {
	name  string
	value any
}

// MarshalJSON writes the fields in their order.
func (s segment) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, f := range s {
		b.WriteByte("{,"[min(i, 1)])
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
