package block

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

// A block of a later version, or of a kind that is not known, is refused by name, not taken for damage.
func TestUnknownVersion(t *testing.T) {
	b, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	row := Row{Seq: 1, Data: event.AppendEvent(nil, &event.Event{Time: 1, Service: []byte("web"), Message: []byte("hello")})}
	data, _, err := b.Append(nil, []Row{row}, nil)
	if err != nil {
		t.Fatal(err)
	}
	open := func(change func(data []byte)) error {
		bad := bytes.Clone(data)
		change(bad)
		_, err := Open(bytes.NewReader(bad), 0, int64(len(bad)))
		return err
	}
	if err := open(func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	if err := open(func(data []byte) { data[3] = Version + 1 }); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "block version 2, this lookout reads 1") {
		t.Error(err)
	}
	kind := func(data []byte) {
		data[4] = 9
		head := data[:fixedLen+int(data[12])+int(data[13])<<8]
		crc := headerCRC(head)
		data[16], data[17], data[18], data[19] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
	}
	if err := open(kind); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "block kind 9") {
		t.Error(err)
	}
}
