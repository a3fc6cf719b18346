#include "go_asm.h"
#include "textflag.h"

// LOAD sets R to where the bytes of a mark, at so many bytes behind BX, lie for the first place, and X and Y to 16 times its value and mask.
#define LOAD(offset, R, X, Y) \
	MOVQ    (offset+mark_at)(BX), R \
	ADDQ    SI, R \
	MOVBLZX (offset+mark_value)(BX), AX \
	IMULL   $0x01010101, AX \
	MOVL    AX, X \
	PSHUFD  $0, X, X \
	MOVBLZX (offset+mark_mask)(BX), AX \
	IMULL   $0x01010101, AX \
	MOVL    AX, Y \
	PSHUFD  $0, Y, Y

// MATCH sets the bytes of X for which all marks are there, 16 places from so many behind DX on.
#define MATCH(offset, X) \
	MOVOU   offset(DI)(DX*1), X \
	MOVOU   offset(R8)(DX*1), X10 \
	MOVOU   offset(R9)(DX*1), X11 \
	POR     X3, X \
	POR     X4, X10 \
	POR     X5, X11 \
	PCMPEQB X0, X \
	PCMPEQB X1, X10 \
	PCMPEQB X2, X11 \
	PAND    X10, X \
	PAND    X11, X

// func sse2(data *byte, n int, marks *[3]mark) int
//
// X0 to X2 hold the values, X3 to X5 the masks, DI, R8 and R9 where their bytes begin, DX the place, R10 and R11 the last place at which
// 64 and 16 places may be looked at.
TEXT ·sse2(SB), NOSPLIT, $0-32
	MOVQ data+0(FP), SI
	MOVQ n+8(FP), R11
	MOVQ marks+16(FP), BX
	LOAD(0, DI, X0, X3)
	LOAD(mark__size, R8, X1, X4)
	LOAD(2*mark__size, R9, X2, X5)
	XORQ DX, DX
	LEAQ -64(R11), R10
	SUBQ $16, R11
	CMPQ R10, $0
	JLT  by16

by64:
	MATCH(0, X6)
	MATCH(16, X7)
	MATCH(32, X8)
	MATCH(48, X9)
	MOVOU    X6, X12
	MOVOU    X8, X13
	POR      X7, X12
	POR      X9, X13
	POR      X13, X12
	PMOVMSKB X12, AX
	TESTL    AX, AX
	JNE      which
	ADDQ     $64, DX
	CMPQ     DX, R10
	JLE      by64

by16:
	CMPQ     DX, R11
	JGT      last
	MATCH(0, X6)
	PMOVMSKB X6, AX
	TESTL    AX, AX
	JNE      found
	ADDQ     $16, DX
	JMP      by16

	// Fewer than 16 are left: the last 16 are looked at, of which the others were in vain.
last:
	LEAQ     16(R11), AX
	CMPQ     DX, AX
	JGE      none
	MOVQ     R11, DX
	MATCH(0, X6)
	PMOVMSKB X6, AX
	TESTL    AX, AX
	JNE      found

none:
	MOVQ $-1, ret+24(FP)
	RET

	// One of the 64 at DX it is.
which:
	PMOVMSKB X6, AX
	TESTL    AX, AX
	JNE      found
	ADDQ     $16, DX
	PMOVMSKB X7, AX
	TESTL    AX, AX
	JNE      found
	ADDQ     $16, DX
	PMOVMSKB X8, AX
	TESTL    AX, AX
	JNE      found
	ADDQ     $16, DX
	PMOVMSKB X9, AX

found:
	BSFL AX, AX
	ADDQ DX, AX
	MOVQ AX, ret+24(FP)
	RET
