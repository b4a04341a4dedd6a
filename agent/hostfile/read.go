package hostfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// File is what was read and who may change it, taken from the open file, so that what is checked is what
// was read.
type File struct {
	Data []byte
	Mode fs.FileMode
	UID  int
}

// Read reads a regular file of at most MaxSize bytes. A file that is not there gives fs.ErrNotExist.
func Read(path string) (File, error) {
	// Not blocking: opening a FIFO that somebody put there must not hang the agent.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return File{}, err
	}
	if len(data) > MaxSize {
		return File{}, fmt.Errorf("%s is larger than %d bytes", path, MaxSize)
	}
	return File{Data: data, Mode: info.Mode(), UID: Owner(info)}, nil
}

// Owner is the user id that owns the file, or -1 where the system does not say.
func Owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
