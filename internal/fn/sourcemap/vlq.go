package sourcemap

import (
	"errors"
	"strings"
)

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// decode reads the numbers of one mapping, in base 64 VLQ: five bits a digit,
// least significant first, the sixth bit says that more follow; the lowest bit
// of a number is its sign.
func decode(s string) ([]int, error) {
	fields := make([]int, 0, 5)
	value, shift := 0, 0
	for i := range len(s) {
		digit := strings.IndexByte(digits, s[i])
		if digit < 0 || shift > 30 {
			return nil, errors.New("a mapping is not in base 64 VLQ")
		}
		value |= (digit & 31) << shift
		if digit&32 != 0 {
			shift += 5
			continue
		}
		if value&1 != 0 {
			fields = append(fields, -(value >> 1))
		} else {
			fields = append(fields, value>>1)
		}
		value, shift = 0, 0
	}
	if len(fields) == 0 || shift != 0 {
		return nil, errors.New("a mapping is cut off")
	}
	return fields, nil
}

func encode(out *strings.Builder, n int) {
	v := n << 1
	if n < 0 {
		v = -n<<1 | 1
	}
	for {
		digit := v & 31
		if v >>= 5; v > 0 {
			digit |= 32
		}
		out.WriteByte(digits[digit])
		if v == 0 {
			return
		}
	}
}
