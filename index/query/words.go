package query

import "strings"

// Some words look like ids to whoever has only their letters: s3 and utf8 have digits, dead and added only the letters a to f. They say what
// a line is about: so they are no holes of forms, and patterns keep them. Others with digits, such as node3 and v2, differ from line to
// line. The list is part of the meaning of fingerprints (package mask).
const words = `
	accede acceded added aes128 aes256 amd64 argon2 arm64 b2b b2c base32 base64 bead beef blake2b blake3 cafe
	ceded crc32 crc32c db2 dead decade deed deface defaced e2e ec2 ed25519 es256 facade face faced fade faded feed
	float32 float64 h2 h264 h265 hs256 http2 http3 i18n i386 int16 int32 int64 int8 ipv4 ipv6 k3s k8s l10n latin1
	log4j md5 mp3 mp4 neo4j oauth1 oauth2 p2p pbkdf2 pkcs1 pkcs12 pkcs7 pkcs8 rs256 s3 sha1 sha224 sha256 sha384
	sha512 uint16 uint32 uint64 uint8 utf16 utf32 utf8 win32 x509 x64 x86
`

// maxWord is the length of the longest of them, in bytes: they fit into an integer.
const maxWord = 8

// knownWords are the words, and lengths, by first letter, those that there are: most ids are no word at the first look.
var knownWords, wordLengths = func() (set map[uint64]bool, lengths [256]uint16) {
	set = map[uint64]bool{}
	for _, w := range strings.Fields(words) {
		if len(w) > maxWord {
			panic("a word is too long: " + w)
		}
		set[wordKey([]byte(w))] = true
		lengths[w[0]] |= 1 << len(w)
		lengths[w[0]&^0x20] |= 1 << len(w)
	}
	return set, lengths
}()

// wordKey puts a token into an integer, without case.
func wordKey(token []byte) (n uint64) {
	for _, c := range token {
		if c >= 'A' {
			c |= 0x20
		}
		n = n<<8 | uint64(c)
	}
	return n
}

// IsWord tells whether a token that has a digit, or only the letters a to f, is a word all the same.
func IsWord(token []byte) bool {
	return len(token) > 1 && len(token) <= maxWord && wordLengths[token[0]]&(1<<len(token)) != 0 && knownWords[wordKey(token)]
}
