package segment

import (
	"io/fs"
	"time"
)

// ReadAt reads the file as it was when the segment was opened, whatever stands under its name by now.
func (s *Segment) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// ModTime returns when the open file was written last; zero when the file system does not tell.
func (s *Segment) ModTime() time.Time {
	if f, ok := s.file.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if info, err := f.Stat(); err == nil {
			return info.ModTime()
		}
	}
	return time.Time{}
}
