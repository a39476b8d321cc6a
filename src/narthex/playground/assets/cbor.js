// Reads CBOR (RFC 8949), for display only: whether it is well formed is for the server to judge.
//
// Maps become Map, byte strings Uint8Array, integers beyond 2^53 BigInt, tags { tag, value }.

export class NotCbor extends Error {}

const MOST_DEPTH = 32;
const BREAK = Symbol("break");

/** Read one item; returns { value, end } where `end` is the offset behind it. */
export function decode(bytes, offset = 0) {
  const reader = new Reader(bytes, offset);
  return { value: reader.item(0), end: reader.offset };
}

class Reader {
  constructor(bytes, offset) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = offset;
  }

  take(size) {
    if (this.offset + size > this.bytes.length) throw new NotCbor("the bytes end too early");
    this.offset += size;
    return this.offset - size;
  }

  item(depth) {
    if (depth > MOST_DEPTH) throw new NotCbor("nested too deeply");
    const initial = this.bytes[this.take(1)];
    const major = initial >> 5;
    const info = initial & 31;
    if (major === 7) return this.simple(info);
    const indefinite = info === 31;
    const argument = indefinite ? null : this.argument(info);
    switch (major) {
      case 0: return argument;
      case 1: return typeof argument === "bigint" ? -1n - argument : -1 - argument;
      case 2: return indefinite ? joined(this.many(Infinity, depth)) : this.slice(argument);
      case 3: return indefinite ? this.many(Infinity, depth).join("") : new TextDecoder().decode(this.slice(argument));
      case 4: return this.many(indefinite ? Infinity : argument, depth);
      case 5: return this.map(indefinite ? Infinity : argument, depth);
      default: return { tag: argument, value: this.item(depth + 1) };
    }
  }

  argument(info) {
    if (info < 24) return info;
    switch (info) {
      case 24: return this.view.getUint8(this.take(1));
      case 25: return this.view.getUint16(this.take(2));
      case 26: return this.view.getUint32(this.take(4));
      case 27: {
        const wide = this.view.getBigUint64(this.take(8));
        return wide <= Number.MAX_SAFE_INTEGER ? Number(wide) : wide;
      }
      default: throw new NotCbor(`reserved length ${info}`);
    }
  }

  slice(size) {
    const start = this.take(Number(size));
    return this.bytes.slice(start, start + Number(size));
  }

  many(count, depth) {
    const items = [];
    while (items.length < count) {
      const item = this.item(depth + 1);
      if (item === BREAK) break;
      items.push(item);
    }
    return items;
  }

  map(count, depth) {
    const map = new Map();
    for (let index = 0; index < count; index += 1) {
      const key = this.item(depth + 1);
      if (key === BREAK) break;
      map.set(key, this.item(depth + 1));
    }
    return map;
  }

  simple(info) {
    switch (info) {
      case 20: return false;
      case 21: return true;
      case 22: return null;
      case 23: return undefined;
      case 25: return half(this.view.getUint16(this.take(2)));
      case 26: return this.view.getFloat32(this.take(4));
      case 27: return this.view.getFloat64(this.take(8));
      case 31: return BREAK;
      default: return { simple: info === 24 ? this.view.getUint8(this.take(1)) : info };
    }
  }
}

function joined(chunks) {
  return Uint8Array.from(chunks.flatMap((chunk) => Array.from(chunk)));
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}
