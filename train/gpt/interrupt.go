package gpt

// interrupt is a question that long work asks of whoever waits for it.
type interrupt struct{ ask func() error }

// Interrupt has ask called between the blocks of a pass and between the chunks of
// the head, by a Decoder between tokens: an error that it returns ends the work,
// which returns it. Weights are then what they were; gradients, activations and a
// decoder's texts are of no use. A pass of a large model takes minutes; who wants
// to end it should wait for seconds. nil is never asked.
func (x *interrupt) Interrupt(ask func() error) { x.ask = ask }

// interrupted asks whether the work has to end.
func (x *interrupt) interrupted() error {
	if x.ask == nil {
		return nil
	}
	return x.ask()
}
