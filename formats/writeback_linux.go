package formats

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginWriting asks the kernel to write n bytes from off on, without waiting.
// What it says does not matter: the sync that follows waits, and reports errors.
func beginWriting(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
