/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The machine below the tests: two processors with their local APICs, the serial port, time.
 */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stdint.h>

#define PROCESSORS 2
/* Vectors of the card's interrupts, one after the other. */
#define FIRST_VECTOR 0x40

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* A line for the host: "BARE " and the text. %u, %x (64 bits) and %s are known. */
void say(const char *format, ...);
/* Waits for a line of the host. */
void hear(char *line, unsigned int bytes);
/* Ends the virtual machine. */
_Noreturn void leave(void);

/* Seconds of the real-time clock, that wrap at 60. */
unsigned int second(void);
/* Waits until a condition holds, for 30 to 60 s. Returns whether it does. */
#define PATIENCE_S 30
#define wait_until(condition)                                                    \
	({                                                                       \
		unsigned int last_ = second(), left_ = PATIENCE_S;               \
		bool holds_;                                                     \
		while (!(holds_ = (condition)) && left_) {                       \
			unsigned int now_ = second();                            \
			left_ -= now_ != last_;                                  \
			last_ = now_;                                            \
			relax();                                                 \
		}                                                                \
		holds_;                                                          \
	})

/* Interrupt tables, local APIC and interrupts of the processor that calls. */
void start_processor(void);
/* The local APIC's number of the processor that calls. */
uint32_t apic_id(void);
/* Starts the other processor and waits until it is there. */
bool start_other(void);
/* Has the other processor call a function; it has to be free. */
void give_other(void (*work)(void));
/* Whether it is free. */
bool other_is_free(void);
/* The local APIC's number of a processor, 0 the first one; of the other once it has started. */
uint32_t apic_id_of(unsigned int processor);

/* Interrupts of FIRST_VECTOR + n that a processor has taken, 0 the first one. */
uint32_t taken(unsigned int processor, unsigned int n);
#define TAKEN_VECTORS 16

#endif /* CPU_H */
