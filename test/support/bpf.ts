/** An interpreter of classic BPF, as the kernel runs it for seccomp (seccomp(2), linux/filter.h). */

export const ARCH_X86_64 = 0xc000003e;
export const ARCH_I386 = 0x40000003;
export const ARCH_AARCH64 = 0xc00000b7;
export const ALLOW = 'allow';
export const KILL_PROCESS = 'kill process';

/** SECCOMP_RET_* of linux/seccomp.h. */
const ACTIONS: ReadonlyMap<number, string> = new Map([
  [0x7fff0000, ALLOW],
  [0x80000000, KILL_PROCESS],
  [0x00000000, 'kill thread'],
  [0x00030000, 'trap'],
  [0x7ff00000, 'trace'],
  [0x7ffc0000, 'log'],
]);

export interface SystemCall {
  number: number;
  arch?: number;
  args?: bigint[];
}

/** What a filter answers: the name of an action, or an errno. */
export function decide(program: Uint8Array, call: SystemCall): string | number {
  const value = run(program, dataOf(call));
  const action = (value & 0xffff0000) >>> 0;
  if (action === 0x00050000) return value & 0xffff;
  const name = ACTIONS.get(action);
  if (name !== undefined) return action === 0x7ff00000 ? `${name} ${value & 0xffff}` : name;
  throw new Error(`unexpected action 0x${(value >>> 0).toString(16)}`);
}

/** struct seccomp_data, little-endian. */
function dataOf(call: SystemCall): DataView {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.number, true);
  data.setUint32(4, call.arch ?? ARCH_X86_64, true);
  (call.args ?? []).forEach((arg, i) => {
    data.setBigUint64(16 + 8 * i, arg, true);
  });
  return data;
}

function run(program: Uint8Array, data: DataView): number {
  const code = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const count = program.byteLength / 8;
  let accumulator = 0;
  const memory = new Map<number, number>();
  for (let pc = 0; pc < count; pc += 1) {
    const op = code.getUint16(pc * 8, true);
    const ifTrue = code.getUint8(pc * 8 + 2);
    const ifFalse = code.getUint8(pc * 8 + 3);
    const k = code.getUint32(pc * 8 + 4, true);
    const jump = (condition: boolean): void => {
      pc += condition ? ifTrue : ifFalse;
    };
    switch (op) {
      case 0x20: // BPF_LD | BPF_W | BPF_ABS
        accumulator = data.getUint32(k, true);
        break;
      case 0x02: // BPF_ST
        memory.set(k, accumulator);
        break;
      case 0x60: // BPF_LD | BPF_MEM
        accumulator = memory.get(k) ?? 0;
        break;
      case 0x54: // BPF_ALU | BPF_AND | BPF_K
        accumulator = (accumulator & k) >>> 0;
        break;
      case 0x05: // BPF_JMP | BPF_JA
        pc += k;
        break;
      case 0x15: // BPF_JMP | BPF_JEQ | BPF_K
        jump(accumulator === k);
        break;
      case 0x25: // BPF_JGT
        jump(accumulator > k);
        break;
      case 0x35: // BPF_JGE
        jump(accumulator >= k);
        break;
      case 0x06: // BPF_RET | BPF_K
        return k;
      default:
        throw new Error(`unknown instruction 0x${op.toString(16)} at ${pc}`);
    }
  }
  throw new Error('the program has no end');
}
