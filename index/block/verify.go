package block

// Checksums reads every byte of the block and compares it with its checksum. The header's was compared by [Open].
func (b *Block) Checksums() error {
	if b.Columnar() {
		for i := range b.sections {
			if _, err := b.sections[i].read(b.src, i); err != nil {
				return err
			}
		}
		return nil
	}
	var rows Rows
	for i := range b.Frames {
		if err := b.Frame(i, &rows); err != nil {
			return err
		}
	}
	return nil
}
