package tfevents

// Marshal and Unmarshal are the protocol buffers of a record, for fuzzing.
var (
	Marshal   = Event.marshal
	Unmarshal = unmarshal
)
