package metrics

// scoreBLEU is BLEU as a Score, whose rows are the counts of the segments.
func scoreBLEU(hyps []string, refs [][]string, o BLEUOptions) (Score, error) {
	whole, err := BLEU(hyps, refs, o)
	if err != nil {
		return Score{}, err
	}
	o, err = o.withDefaults()
	if err != nil {
		return Score{}, err
	}
	n := o.MaxOrder
	rows := make([][]float64, len(hyps))
	for i := range hyps {
		c := newBLEUCounter(o)
		c.add(hyps[i], refs[i])
		row := make([]float64, 2*n+2)
		for k := range n {
			row[k], row[n+k] = float64(c.correct[k]), float64(c.total[k])
		}
		row[2*n], row[2*n+1] = float64(c.hypLen), float64(c.refLen)
		rows[i] = row
	}
	total := func(o BLEUOptions) func([]float64) float64 {
		return func(sum []float64) float64 {
			c := &bleuCounter{o: o, correct: make([]int, n), total: make([]int, n), hypLen: int(sum[2*n]), refLen: int(sum[2*n+1])}
			for k := range n {
				c.correct[k], c.total[k] = int(sum[k]), int(sum[n+k])
			}
			return c.score().Score
		}
	}
	s := newScore("bleu", whole.Signature, rows, total(o))
	o.EffectiveOrder = true // as sacreBLEU's sentence level
	s.segment = total(o)
	s.lengths = func(row []float64) (float64, float64) { return row[2*n], row[2*n+1] }
	s.Detail = whole.String()
	return s, nil
}
